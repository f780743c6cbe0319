"""More samples at fixed imbalance: :func:`large_sample_limit`, :func:`sample_scales`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import ArrayLike

from ufm._html import Shown
from ufm.problem import FloatArray, check_positive
from ufm.theory._cluster_matrix import ClusterMatrix, plain, plain_number
from ufm.theory.bias_only import bias_only_thresholds
from ufm.theory.cosines import Cosines, Side
from ufm.theory.seli import SeliLimit, seli


@dataclass(frozen=True, eq=False, repr=False)
class LargeSampleLimit(Shown):
    """Counts s n for s -> infinity with lambda_z = c / N.

    The solution for counts s n and lambda_z is the solution for n and lambda_z sqrt(s), with the
    same lambda_b (derived: s only enters ||Z D^(1/2)||_*). With lambda_z = c / N the limit is thus
    the one of vanishing lambda_z at fixed counts.

    Attributes
    ----------
    num_samples : float
        N at s = 1.
    scaled_lambda_z : float
        c = lambda_z N, held fixed.
    limit : SeliLimit
        What the directions tend to.
    """

    num_samples: float
    scaled_lambda_z: float
    limit: SeliLimit

    def equivalent_lambda_z(self, scale: float) -> float:
        """The lambda_z that gives the counts at s = 1 the solution of the counts s n."""
        return self.scaled_lambda_z / (self.num_samples * math.sqrt(check_positive("scale", scale)))

    def prediction(self, scale: float) -> ClusterMatrix:
        """Z at counts s n to leading and next order in 1 / log s."""
        return self.limit.prediction(self.equivalent_lambda_z(scale))

    def cosines(self, scale: float, of: Side = "columns") -> Cosines:
        """Cosines of the class vectors of ``prediction(scale)``; error O(1 / log(s)^2)."""
        return self.limit.predicted_cosines(self.equivalent_lambda_z(scale), of)

    def cosine_rate(self, of: Side = "columns") -> FloatArray:
        """Coefficients (C, C): the cosines are their limit + rate / log s + O(1 / log(s)^2)."""
        return 2 * self.limit.cosine_rate(of)

    def summary(self) -> str:
        """The limit in a few lines of text."""
        size = self.limit.counts.size
        rate = self.cosine_rate()
        lines = [
            f"counts times s, lambda_z N = {self.scaled_lambda_z:.6g}, s -> infinity, K = {size}",
            f"{'count':>12} {'cosine inside':>14} {'+ rate / log s':>15}",
        ]
        lines += [
            f"{count:>12.10g} {cosine:>14.6f} {rate[i, i]:>15.5f}"
            for i, (count, cosine) in enumerate(
                zip(self.limit.cluster_count, self.limit.cosines().within, strict=True)
            )
        ]
        return "\n".join(lines[:14])

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {
            "num_samples": self.num_samples,
            "scaled_lambda_z": self.scaled_lambda_z,
            "cosines": self.limit.cosines().to_dict(),
            "cosine_rate": plain(self.cosine_rate()),
        }


def large_sample_limit(
    counts: ArrayLike,
    scaled_lambda_z: float,
    *,
    lambda_b: float = math.inf,
    class_weights: ArrayLike | None = None,
) -> LargeSampleLimit:
    """Limit of ever more samples at fixed imbalance with lambda_z = c / N.

    The cosines between the classes tend to -1/(K - 1) (Hong and Ling, arXiv 2309.09725), at
    rate 1 / log n (coefficients derived). With lambda_z fixed instead see :func:`sample_scales`.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class at scale 1; positive, at least two classes.
    scaled_lambda_z : float
        c = lambda_z N.
    lambda_b : float
        Weight of the bias penalty; only whether it is 0 matters.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.

    Returns
    -------
    LargeSampleLimit

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> limit = ufm.large_sample_limit([500] * 5 + [250] * 5, scaled_lambda_z=0.1)
    >>> limit.cosines(1e12).within.round(4).tolist()
    [-0.1285, -0.0888]
    """
    c = check_positive("scaled_lambda_z", scaled_lambda_z)
    limit = seli(counts, lambda_b=lambda_b, class_weights=class_weights)
    return LargeSampleLimit(float(limit.counts.sum()), c, limit)


@dataclass(frozen=True)
class ClusterScales:
    """Scales of the counts at and above which a cluster changes.

    Attributes
    ----------
    count, class_weight : float
        Samples (at scale 1) and loss weight of each class.
    multiplicity : int
        Number of classes.
    collapse : float
        From here on the classes share one mean prediction; NaN for a single class.
    bias_only : float
        From here on their mean predictions are zero.
    """

    count: float
    class_weight: float
    multiplicity: int
    collapse: float
    bias_only: float


@dataclass(frozen=True, repr=False)
class SampleScales(Shown):
    """What becomes of a problem as all counts grow by a factor s at fixed lambda_z.

    Attributes
    ----------
    lambda_z, lambda_b : float
        Weights of the nuclear norm and the bias penalty.
    vanishing : float
        Z = 0 for counts s n with s at and above it.
    clusters : list of ClusterScales
        In order of falling count.
    """

    lambda_z: float
    lambda_b: float
    vanishing: float
    clusters: list[ClusterScales]

    def summary(self) -> str:
        """The scales as a few lines of text."""
        lines = [
            f"Z = 0 for counts times {self.vanishing:.6g} and more (lambda_z = "
            f"{self.lambda_z:.6g}, lambda_b = {self.lambda_b:.6g})",
            f"{'count':>12} {'classes':>8} {'merge from times':>17} {'bias alone from':>16}",
        ]
        for cluster in self.clusters:
            at = "-" if math.isnan(cluster.collapse) else f"{cluster.collapse:.6g}"
            lines.append(
                f"{cluster.count:>12.10g} {cluster.multiplicity:>8} {at:>17} "
                f"{cluster.bias_only:>16.6g}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        told = asdict(self)
        for cluster in told["clusters"]:
            cluster["collapse"] = plain_number(cluster["collapse"])
        return told


def sample_scales(
    counts: ArrayLike, lambda_z: float, lambda_b: float, class_weights: ArrayLike | None = None
) -> SampleScales:
    """Factors s at which counts s n collapse, at fixed lambda_z and imbalance.

    Every threshold in lambda_z falls like 1 / sqrt(s), so that more samples at fixed lambda_z end
    in Z = 0: a threshold t of the counts n is met at s = (t / lambda_z)^2 (derived).

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class at scale 1; positive.
    lambda_z : float
        Weight of the nuclear norm, held fixed.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.

    Returns
    -------
    SampleScales

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> scales = ufm.sample_scales([500] * 5 + [100] * 5, lambda_z=0.0027, lambda_b=0.02)
    >>> [round(cluster.collapse, 4) for cluster in scales.clusters], round(scales.vanishing, 4)
    ([7.6208, 1.5242], 7.6208)
    """
    lambda_z = check_positive("lambda_z", lambda_z)
    found = bias_only_thresholds(counts, lambda_b, class_weights)
    clusters = [
        ClusterScales(
            cluster.count,
            cluster.class_weight,
            cluster.multiplicity,
            (cluster.collapse / lambda_z) ** 2,
            (cluster.bias_only / lambda_z) ** 2,
        )
        for cluster in found.clusters
    ]
    return SampleScales(lambda_z, found.lambda_b, (found.lambda_max / lambda_z) ** 2, clusters)
