"""What lets every class win its own samples: :class:`PositiveMargin`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ufm.planning._record import record_of
from ufm.problem import FloatArray

TARGETS = ("apart", "positive_margin")
FEATURES = ("free", "nonnegative")
CHANGES = ("lambda_z", "oversampling", "plain_weights", "normalised_weights")


@dataclass(frozen=True, eq=False)
class MarginChange:
    """The least change of one kind after which every class exceeds the logit margin.

    Attributes
    ----------
    name : str
        What is changed.
    needed : bool
        Whether any class falls short of the margin as things are.
    value : float or None
        lambda_z; or the level, in samples: every class below it is oversampled up to it, or gets
        the class weight level / count. None where no value that was tried is enough.
    factors : ndarray of shape (K,) or None
        Oversampling factors or class weights that this amounts to; all one for lambda_z.
    smallest_margin : float
        Smallest logit margin of a class there; where `value` is None the largest that was found.
    value_short, smallest_margin_short : float
        The nearest value tried that is not enough, and the smallest margin there; NaN if none is.
    unconverged : int
        Problems solved on the way that missed the tolerance; they count as not enough.
    """

    name: str
    needed: bool
    value: float | None
    factors: FloatArray | None
    smallest_margin: float
    value_short: float
    smallest_margin_short: float
    unconverged: int

    @property
    def feasible(self) -> bool:
        """Whether a value was found."""
        return self.value is not None

    @property
    def largest_factor(self) -> float:
        """Largest of the factors; NaN where there are none."""
        return math.nan if self.factors is None else float(self.factors.max())


@dataclass(frozen=True, eq=False)
class PositiveMargin:
    """The least changes after which the samples of every class are recognised as its own.

    The logit margin of class k is that of its mean prediction with bias, z_kk + b_k less the
    largest z_jk + b_j of another class j. It is positive if and only if the training samples of
    class k are called by their name at the optimum. Classes that are merged have none; classes that
    are apart need not have one.

    Attributes
    ----------
    features : str
        "free": optima of :func:`ufm.solve`; "nonnegative": of :func:`ufm.nonnegative_solution`,
        for features after a ReLU.
    least : float
        Logit margin that every class is to exceed.
    margins : ndarray of shape (K,)
        Logit margins as things are.
    lambda_z : MarginChange
        The largest lambda_z, not above the one given; nothing else is changed.
    weight_decay : float or None
        Weight decay that gives it with the feature decay as it is.
    oversampling : MarginChange
        The smallest level to which to oversample.
    plain_weights, normalised_weights : MarginChange
        The smallest level for class weights, in a loss divided by the number of samples and by the
        summed weights.
    """

    features: str
    least: float
    margins: FloatArray
    lambda_z: MarginChange
    weight_decay: float | None
    oversampling: MarginChange
    plain_weights: MarginChange
    normalised_weights: MarginChange

    @property
    def changes(self) -> tuple[MarginChange, ...]:
        """All four."""
        return tuple(getattr(self, name) for name in CHANGES)

    @property
    def needed(self) -> bool:
        """Whether any class falls short of the margin as things are."""
        return bool((self.margins <= self.least).any())

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, those of the changes too."""
        return record_of(self) | {name: record_of(getattr(self, name)) for name in CHANGES}
