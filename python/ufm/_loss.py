"""What the cross-entropy is taken of: :class:`Loss`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm.clusters import IntArray
from ufm.problem import (
    FloatArray,
    check_class_weights,
    check_loss_weights,
    check_real,
    check_vector,
)

_EMPTY: FloatArray = np.empty(0)

GIVEN_TWICE = "class_weights must not be given where the loss has class_weights already"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Loss:
    """A cross-entropy with smoothed labels, scaled and shifted logits, and class weights.

    A sample of class k has the loss

        class_weights[k] * CE(scales * (z_k + b) + offsets, t_k),
        t_k = (1 - smoothing) e_k + (smoothing / K) 1

    where products are taken entry by entry. Z and b of a solution are those **before** scales and
    offsets, what the network's last layer puts out: z_k = W h_k. At test time the logits are
    W h + b, without scales and offsets, for logit adjustment (Menon et al. 2021), class-dependent
    temperatures (Ye et al. 2020) and vector scaling (Kini et al. 2021) alike.

    Adjustments that depend on the sample's own class, such as margins on the true logit only, are
    not of this form.

    Parameters
    ----------
    smoothing : float
        Label smoothing epsilon, in [0, 1).
    offsets : array_like of shape (K,), optional
        Added to the logits after scaling; 0 by default. A common constant changes nothing.
    scales : array_like of shape (K,), optional
        Multiply the logits, bias included; positive, 1 by default.
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given (not normalised); 1 by default.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.

    Notes
    -----
    The classes with n samples, scale s and weight w, if there are at least two, share one mean
    prediction if and only if lambda_z >= (1 - smoothing) w s sqrt(n) / N (derived; without
    adjustment Hong and Ling, arXiv 2309.09725). Offsets have no part in it.

    Examples
    --------
    >>> import ufm
    >>> loss = ufm.Loss(smoothing=0.1, class_weights=[1, 1, 2, 2])
    >>> loss
    <ufm.Loss smoothing 0.1, class weights 1 to 2>
    >>> ufm.solve([9, 9, 3, 3], lambda_z=0.1, lambda_b=0.02, loss=loss).converged
    True
    """

    smoothing: float
    offsets: FloatArray | None
    scales: FloatArray | None
    class_weights: FloatArray | None

    def __init__(
        self,
        *,
        smoothing: float = 0.0,
        offsets: ArrayLike | None = None,
        scales: ArrayLike | None = None,
        class_weights: ArrayLike | None = None,
    ) -> None:
        epsilon = check_real("smoothing", smoothing)
        if not 0.0 <= epsilon < 1.0:
            raise ValueError(f"smoothing must lie in [0, 1), got {epsilon}")
        vectors = {
            "offsets": _read_only("offsets", offsets, positive=False),
            "scales": _read_only("scales", scales, positive=True),
            "class_weights": _read_only("class_weights", class_weights, positive=True),
        }
        if vectors["scales"] is not None:
            _check_scales(vectors["scales"])
        sizes = {name: vector.size for name, vector in vectors.items() if vector is not None}
        if len(set(sizes.values())) > 1:
            given = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise ValueError(f"the vectors of a loss must have one entry per class: {given}")
        object.__setattr__(self, "smoothing", epsilon)
        for name, vector in vectors.items():
            object.__setattr__(self, name, vector)

    # ------------------------------------------------------------------ what it amounts to

    @property
    def has_scales(self) -> bool:
        """Whether any scale differs from 1."""
        return self.scales is not None and bool((self.scales != 1.0).any())

    @property
    def has_offsets(self) -> bool:
        """Whether the offsets differ between classes."""
        return self.offsets is not None and bool((self.offsets != self.offsets[0]).any())

    @property
    def has_class_weights(self) -> bool:
        """Whether any class weight differs from 1."""
        return self.class_weights is not None and bool((self.class_weights != 1.0).any())

    @property
    def is_weighted_cross_entropy(self) -> bool:
        """Whether nothing but class weights sets it apart from plain cross-entropy."""
        return self.smoothing == 0.0 and not self.has_scales and not self.has_offsets

    def core_arguments(self) -> dict[str, Any]:
        """Scale, offset and smoothing as the core takes them; empty where they change nothing."""
        return {
            "scale": self.scales if self.has_scales else _EMPTY,
            "offset": self.offsets if self.has_offsets else _EMPTY,
            "smoothing": self.smoothing,
        }

    def has_same_shape(self, other: Loss) -> bool:
        """Whether smoothing, scales and offsets are the same, whatever the class weights."""
        mine, theirs = self.core_arguments(), other.core_arguments()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def cluster_arguments(self, representatives: IntArray) -> dict[str, Any]:
        """Scale, offset and smoothing of clusters, given one class of each."""
        ones = np.ones(representatives.size)
        return {
            "scale": ones if self.scales is None else self.scales[representatives],
            "offset": 0.0 * ones if self.offsets is None else self.offsets[representatives],
            "smoothing": self.smoothing,
        }

    def threshold_factors(self, classes: IntArray) -> FloatArray:
        """What smoothing and scales multiply the collapse thresholds of some classes by."""
        scales = self.cluster_arguments(classes)["scale"]
        factors: FloatArray = (1.0 - self.smoothing) * scales
        return factors

    # ------------------------------------------------------------------ text and comparison

    def describe(self) -> str:
        """What sets it apart from plain cross-entropy, in one line."""
        parts = [f"smoothing {self.smoothing:g}"] if self.smoothing else []
        if self.has_scales:
            parts.append(f"scales {_range(self.scales)}")
        if self.has_offsets:
            parts.append(f"offsets {_range(self.offsets)}")
        if self.has_class_weights:
            parts.append(f"class weights {_range(self.class_weights)}")
        return ", ".join(parts) or "plain cross-entropy"

    def to_dict(self) -> dict[str, Any]:
        """The loss as plain Python values; absent vectors are None."""
        return {
            "smoothing": self.smoothing,
            **{name: None if v is None else v.tolist() for name, v in self._vectors().items()},
        }

    def __repr__(self) -> str:
        return f"<ufm.Loss {self.describe()}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Loss):
            return NotImplemented
        return self.smoothing == other.smoothing and all(
            mine is theirs
            or (mine is not None and theirs is not None and np.array_equal(mine, theirs))
            for mine, theirs in zip(
                self._vectors().values(), other._vectors().values(), strict=True
            )
        )

    def __hash__(self) -> int:
        # Adding 0.0 makes one of the two zeros, which compare equal.
        vectors = (None if v is None else (v + 0.0).tobytes() for v in self._vectors().values())
        return hash((self.smoothing, *vectors))

    def _vectors(self) -> dict[str, FloatArray | None]:
        return {
            "offsets": self.offsets,
            "scales": self.scales,
            "class_weights": self.class_weights,
        }


def check_loss(
    loss: Any, class_weights: ArrayLike | None, counts: FloatArray
) -> tuple[Loss, FloatArray | None]:
    """The loss of a problem and its class weights, which may be given once only."""
    weights = check_class_weights(class_weights, counts)
    if loss is None:
        return PLAIN, weights
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a ufm.Loss or None, got {loss!r:.80}")
    check_fit(loss, counts.size)
    if loss.class_weights is None:
        return loss, weights
    if weights is not None:
        raise ValueError(GIVEN_TWICE)
    check_loss_weights("class_weights of the loss", loss.class_weights, counts)
    return loss, np.array(loss.class_weights)


def group(
    counts: FloatArray, class_weights: FloatArray | None, loss: Loss
) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Cluster of each class; count, loss weight and multiplicity of each cluster."""
    shape = loss.core_arguments()
    return _core.group(
        counts, _EMPTY if class_weights is None else class_weights, shape["scale"], shape["offset"]
    )


def check_fit(loss: Loss, num_classes: int) -> None:
    """Refuse a loss whose vectors are for another number of classes."""
    for name, vector in loss._vectors().items():
        if vector is not None and vector.size != num_classes:
            raise ValueError(
                f"loss must fit the counts: its {name} have {vector.size} entries "
                f"for {num_classes} classes"
            )


def _read_only(name: str, values: ArrayLike | None, *, positive: bool) -> FloatArray | None:
    if values is None:
        return None
    vector = check_vector(name, values, positive=positive)
    vector.flags.writeable = False
    return vector


def _check_scales(scales: FloatArray) -> None:
    """Refuse scales so small that logits, divided by them, leave double precision."""
    index = int(scales.argmin())
    if scales[index] < sys.float_info.min:
        raise ValueError(
            f"scales must be at least {sys.float_info.min}, got {scales[index]} at index {index}"
        )


def _range(values: FloatArray | None) -> str:
    assert values is not None
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


PLAIN = Loss()
