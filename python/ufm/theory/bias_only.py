"""Where classes are predicted by the bias alone: :func:`bias_only_thresholds`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import ArrayLike

from ufm._html import Shown
from ufm.problem import check_lambda_b
from ufm.theory._cluster_matrix import group, plain_number
from ufm.theory._decoupled import Decoupled

_STEP = 0.8  # factor of the search downwards


@dataclass(frozen=True)
class ClusterBiasOnly:
    """Thresholds in lambda_z of the classes with one count and weight.

    Attributes
    ----------
    count, class_weight : float
        Samples and loss weight of each class.
    multiplicity : int
        Number of classes.
    collapse : float
        At and above it the classes share one mean prediction; NaN for a single class.
    bias_only : float
        lambda_c: at and above it their mean predictions are zero, so that the bias alone decides.
    """

    count: float
    class_weight: float
    multiplicity: int
    collapse: float
    bias_only: float


@dataclass(frozen=True, repr=False)
class BiasOnlyThresholds(Shown):
    """Where features stop telling classes apart, cluster by cluster.

    Attributes
    ----------
    decoupling : float
        lambda_z at and above which no cluster puts features on the logits of another one; 0 where
        all classes are alike.
    clusters : list of ClusterBiasOnly
        In order of falling count.
    lambda_max : float
        Z = 0 at and above it.
    lambda_b : float
        Weight of the bias penalty that holds for all of them.
    """

    decoupling: float
    clusters: list[ClusterBiasOnly]
    lambda_max: float
    lambda_b: float

    def summary(self) -> str:
        """The thresholds as a few lines of text."""
        lines = [
            f"Z = 0 for lambda_z >= {self.lambda_max:.8g} (lambda_b = {self.lambda_b:.8g})",
            f"{'count':>12} {'classes':>8} {'merge at lambda_z':>18} {'bias alone from':>18}",
        ]
        for cluster in self.clusters:
            at = "-" if math.isnan(cluster.collapse) else f"{cluster.collapse:.8g}"
            lines.append(
                f"{cluster.count:>12.10g} {cluster.multiplicity:>8} {at:>18} "
                f"{cluster.bias_only:>18.8g}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The thresholds as plain Python values; NaN thresholds become None."""
        clusters = [asdict(cluster) for cluster in self.clusters]
        for cluster in clusters:
            cluster["collapse"] = plain_number(cluster["collapse"])
        return {
            "decoupling": self.decoupling,
            "lambda_max": self.lambda_max,
            "lambda_b": self.lambda_b,
            "clusters": clusters,
        }


def bias_only_thresholds(
    counts: ArrayLike, lambda_b: float, class_weights: ArrayLike | None = None
) -> BiasOnlyThresholds:
    """Thresholds in lambda_z above which classes are predicted by the bias alone.

    Between the collapse of a cluster and Z = 0 lies a further threshold lambda_c: at and above it
    the mean prediction of its classes is exactly zero. With Z D^(1/2) split into the differences
    inside clusters and the matrix M between them, a column of Z vanishes over a range of lambda_z
    only where M = 0 (derived: a zero column of M together with M != 0 leaves one equation more than
    unknowns; for two clusters it is impossible). M = 0 if and only if ||G||_2 between clusters,
    taken at the optimum under that restriction, is at most lambda_z. That norm needs one convex
    problem in one number per cluster; its crossing with lambda_z, `decoupling`, is found by root
    finding from lambda_max downwards. (One crossing was seen in every case tried; the largest is
    meant.) Then lambda_c is the larger of `decoupling` and the
    collapse threshold of the cluster.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.

    Returns
    -------
    BiasOnlyThresholds

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> found = ufm.bias_only_thresholds([500] * 5 + [100] * 5, lambda_b=0.02)
    >>> [round(cluster.bias_only, 6) for cluster in found.clusters]
    [0.007454, 0.003983]
    """
    lambda_b = check_lambda_b(lambda_b)
    grouped = group(counts, class_weights)
    problem = Decoupled.of(grouped, lambda_b)
    decoupling = _decoupling(problem)
    collapse = problem.collapse
    clusters = [
        ClusterBiasOnly(
            count=float(count),
            class_weight=1.0 if class_weights is None else float(weight),
            multiplicity=int(size),
            collapse=float(level) if size > 1 else math.nan,
            bias_only=max(decoupling, float(level)) if size > 1 else decoupling,
        )
        for count, weight, size, level in zip(
            grouped.count, grouped.class_weight, grouped.multiplicity, collapse, strict=True
        )
    ]
    return BiasOnlyThresholds(decoupling, clusters, problem.lambda_max(), lambda_b)


def _decoupling(problem: Decoupled) -> float:
    """Largest lambda_z at which the coupling norm crosses it."""
    highest = problem.highest_collapse
    norm, last = problem.norm_at_zero()
    if problem.multiplicity.size == 1 or norm >= highest:
        return norm
    from scipy.optimize import brentq

    def excess(log_lambda: float) -> float:
        nonlocal last
        norm, last = problem.coupling_norm(math.exp(log_lambda), last)
        return math.log(norm) - log_lambda

    high = math.log(highest)
    while excess(low := high + math.log(_STEP)) <= 0:
        high = low
    return float(math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))
