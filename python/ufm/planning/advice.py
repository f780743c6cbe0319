"""What :func:`ufm.advise` returns: :class:`Advice` and its parts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufm._html import Shown
from ufm.planning._penalties import Penalties
from ufm.planning._record import plain, record_of
from ufm.planning.positive_margin import PositiveMargin
from ufm.problem import FloatArray
from ufm.solution import BoolArray, Solution


@dataclass(frozen=True, eq=False)
class ClusterAdvice:
    """What holds for the classes of one size.

    Attributes
    ----------
    count : float
        Samples of each class.
    multiplicity : int
        Number of classes.
    classes : ndarray of shape (multiplicity,)
        Their positions in ``counts``.
    threshold : float
        sqrt(n) / N: lambda_z at and above which the classes merge. A class alone in its size has
        nobody to merge with; for it this is where two such classes would.
    ratio : float
        lambda_z / threshold.
    merged : bool
        Whether they share one mean prediction: two or more classes, and ratio >= 1.
    protected : bool
        Whether the recommendations are to keep them apart.
    soft_collapse : float
        Soft-collapse index between 0 and 1; min(1, ratio) for two or more classes. NaN for a
        problem of one class.
    neighbour_count : float
        Samples of the classes that the index compares with; NaN for a problem of one class.
    own_probability : float
        Probability that the mean prediction of a class gives the class itself.
    prediction_norm : float
        Euclidean norm of the bias-free mean prediction z_k.
    bias_only : bool
        prediction_norm <= ``BIAS_ONLY``: the bias alone predicts.
    bias : float
        b_k.
    factor_alone : float or None
        Smallest factor by which to oversample these classes and no others to keep them apart, with
        the margin; 1 if they are, None if no factor does, or if they are not protected.
    samples_alone : float or None
        Samples of each class after that, rounded up where counts are integers.
    added_alone : float or None
        Samples that this adds in all.
    also_merge : int
        Classes of other sizes that would merge because of that and do not now.
    factor : float or None
        Factor in the joint plan ``Advice.oversampling``; None where there is none.
    plain_weight, normalised_weight : float or None
        Class weight in ``Advice.weights``.
    """

    count: float
    multiplicity: int
    classes: NDArray[np.int64]
    threshold: float
    ratio: float
    merged: bool
    protected: bool
    soft_collapse: float
    neighbour_count: float
    own_probability: float
    prediction_norm: float
    bias_only: bool
    bias: float
    factor_alone: float | None
    samples_alone: float | None
    added_alone: float | None
    also_merge: int
    factor: float | None
    plain_weight: float | None
    normalised_weight: float | None


@dataclass(frozen=True, eq=False)
class Oversampling:
    """The least oversampling that keeps all protected classes apart.

    Attributes
    ----------
    needed : bool
        Whether any protected class is short of the margin as things are.
    feasible : bool
        Whether any oversampling helps at this lambda_z.
    level : float or None
        Raise every protected class below this many samples to it; None if not feasible.
    samples : ndarray of shape (K,) or None
        Samples per class after that.
    added : float or None
        Samples that this adds in all.
    limit_lambda_z : float
        No oversampling keeps the protected classes apart, with the margin, beyond this lambda_z
        (inf if none are protected).
    best_level : float or None
        Level of the plan ``best_samples``, which serves where this lambda_z is not feasible: the
        level that reaches ``limit_lambda_z``, or the size of the largest class where the limit is
        approached only as factors grow without bound.
    best_samples : ndarray of shape (K,) or None
    best_lambda_z : float or None
        Largest lambda_z at which ``best_samples`` keep the protected classes apart with the margin.
    """

    needed: bool
    feasible: bool
    level: float | None
    samples: FloatArray | None
    added: float | None
    limit_lambda_z: float
    best_level: float | None
    best_samples: FloatArray | None
    best_lambda_z: float | None


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """The least loss weights, none below one, that keep all protected classes apart.

    Attributes
    ----------
    needed : bool
        Whether any protected class is short of the margin as things are.
    plain : ndarray of shape (K,)
        For a loss (1/N) sum of w CE, divided by the number of samples.
    normalised : ndarray of shape (K,) or None
        For a loss divided by the summed weights, as the weighted mean of
        ``torch.nn.CrossEntropyLoss(weight=...)`` is over the whole data set; None where no weights
        of this kind help at this lambda_z.
    limit_lambda_z : float
        No normalised weights keep the protected classes apart, with the margin, beyond this (inf if
        none are protected).
    """

    needed: bool
    plain: FloatArray
    normalised: FloatArray | None
    limit_lambda_z: float


@dataclass(frozen=True)
class Check:
    """One solve that holds a statement of the advice to the model.

    Attributes
    ----------
    name : str
        What was solved.
    lambda_z, num_samples : float
        The problem.
    expected_merged, merged : int
        Protected classes that should share a mean prediction, and that do.
    status : str
        Name of the solution's status.
    relative_gap, tol : float
        Its certificate.
    seconds : float
        What it took.
    soft_collapse : float or None
        Largest soft-collapse index of the protected classes in this solution; None beyond 2000
        different counts, where it would take long.
    smallest_margin, least_margin : float or None, float
        Smallest logit margin of a class, where it is stated to exceed the other number.
    """

    name: str
    lambda_z: float
    num_samples: float
    expected_merged: int
    merged: int
    status: str
    relative_gap: float
    tol: float
    seconds: float
    soft_collapse: float | None
    smallest_margin: float | None = None
    least_margin: float = 0.0

    @property
    def confirmed(self) -> bool:
        """Whether the solve converged and shows what was stated."""
        enough = self.smallest_margin is None or self.smallest_margin > self.least_margin
        return self.status == "CONVERGED" and self.merged == self.expected_merged and enough


@dataclass(frozen=True, eq=False, repr=False)
class Advice(Shown):
    """Which classes merge, and what prevents it. Made by :func:`ufm.advise`.

    ``str(advice)`` is a text for people, ``to_dict()`` everything for programs, ``html()`` and
    ``save_html(path)`` a page that needs nothing else.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Samples per class.
    names : tuple of str or None
        Names of the classes.
    penalties : Penalties
        lambda_z and the decays that it comes from.
    lambda_b, margin : float
        As given.
    protect : str
        Which classes the recommendations keep apart.
    clusters : list of ClusterAdvice
        In order of falling count.
    lambda_max : float
        Z = 0 at and above this lambda_z.
    largest_lambda_z : float
        Largest lambda_z that keeps the protected classes apart with the margin, counts as they are
        (inf if none are protected).
    largest_weight_decay : float or None
        Weight decay that gives it with the feature decay as it is; None where lambda_z was given.
    oversampling : Oversampling
    weights : ClassWeights
    checks : list of Check
        The solves behind the statements.
    unchecked : int
        Factors for the classes of one size (``factor_alone``) that follow from the same formula as
        the checked ones but were not solved again.
    solution : Solution
        The problem as given.
    positive_margin : PositiveMargin or None
        The least changes that let every class win its own samples, if asked for.
    """

    counts: FloatArray
    names: tuple[str, ...] | None
    penalties: Penalties
    lambda_b: float
    margin: float
    protect: str
    clusters: list[ClusterAdvice]
    lambda_max: float
    largest_lambda_z: float
    largest_weight_decay: float | None
    oversampling: Oversampling
    weights: ClassWeights
    checks: list[Check]
    unchecked: int
    solution: Solution
    positive_margin: PositiveMargin | None = None

    @property
    def lambda_z(self) -> float:
        """lambda_z of the problem as given."""
        return self.penalties.lambda_z

    @property
    def num_samples(self) -> float:
        """N."""
        return float(self.counts.sum())

    @property
    def merging_count(self) -> float:
        """(lambda_z N)^2: classes of one size merge where that size is at most this."""
        return (self.lambda_z * self.num_samples) ** 2

    @property
    def merged(self) -> BoolArray:
        """Shape (K,): the class shares its mean prediction with others of its size."""
        return self.solution.collapsed

    @property
    def soft_collapse(self) -> FloatArray:
        """Shape (K,): soft-collapse index of each class."""
        values = np.array([cluster.soft_collapse for cluster in self.clusters])
        index: FloatArray = values[self.solution.cluster_of]
        return index

    @property
    def everything_collapsed(self) -> bool:
        """Whether the features carry nothing and the bias alone predicts all classes."""
        return self.counts.size > 1 and not any(c.prediction_norm for c in self.clusters)

    @property
    def confirmed(self) -> bool:
        """Whether every check came out as stated."""
        return all(check.confirmed for check in self.checks)

    @property
    def verdict(self) -> str:
        """The answer in one or two sentences."""
        from ufm.planning._wording import verdict

        return verdict(self)

    def __repr__(self) -> str:
        return (
            f"<ufm.Advice: {int(self.merged.sum())} of {self.counts.size} classes merge, "
            f"{'confirmed' if self.confirmed else 'NOT confirmed'} by {len(self.checks)} solves>"
        )

    def __str__(self) -> str:
        from ufm.planning._text import text

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values; what JSON lacks is None (nan) or "inf"."""
        record: dict[str, Any] = plain(
            {
                "K": int(self.counts.size),
                "N": self.num_samples,
                "counts": self.counts,
                "names": self.names,
                "lambda_z": self.lambda_z,
                "lambda_b": self.lambda_b,
                "weight_decay": self.penalties.weight_decay,
                "feature_decay": self.penalties.feature_decay,
                "feature_penalty": self.penalties.feature_penalty,
                "lambda_h": self.penalties.lambda_h,
                "margin": self.margin,
                "protect": self.protect,
                "verdict": self.verdict,
                "merging_count": self.merging_count,
                "merged_classes": int(self.merged.sum()),
                "lambda_max": self.lambda_max,
                "largest_lambda_z": self.largest_lambda_z,
                "largest_weight_decay": self.largest_weight_decay,
                "clusters": [record_of(cluster) for cluster in self.clusters],
                "oversampling": record_of(self.oversampling),
                "weights": record_of(self.weights),
                "checks": [asdict(c) | {"confirmed": c.confirmed} for c in self.checks],
                "unchecked": self.unchecked,
                "confirmed": self.confirmed,
                "positive_margin": self.positive_margin and self.positive_margin.to_dict(),
                "solution": self.solution.to_dict(),
            }
        )
        return record

    def html(self, *, pictures: bool | None = None) -> str:
        """A self-contained page for readers who have not met the theory.

        Parameters
        ----------
        pictures : bool, optional
            Whether to draw; by default where matplotlib is installed. The page says what it lacks.

        Returns
        -------
        str
            HTML with everything inline.

        Raises
        ------
        ImportError
            If pictures are asked for and matplotlib is missing; the message names the extra.
        """
        from ufm.planning.report import page

        return page(self, pictures=pictures)

    def save_html(self, path: str | os.PathLike[str], *, pictures: bool | None = None) -> Path:
        """Write the page; the file is whole or not there.

        Parameters
        ----------
        path : str or path-like
            Where; the folder must exist.
        pictures : bool, optional
            As for :meth:`html`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the path is a folder or lies in none that exists.
        OSError
            If it cannot be written.
        ImportError
            As :meth:`html`.
        """
        from ufm._files import write_text
        from ufm.planning.report import check_report_path

        target = check_report_path(path)
        write_text(target, self.html(pictures=pictures))
        return target
