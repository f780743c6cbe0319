"""Where classes merge and where everything vanishes: :func:`thresholds`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._linalg import ensure_lapack
from ufm.problem import check_class_weights, check_counts, check_lambda_b


@dataclass(frozen=True)
class ClusterThreshold:
    """Collapse threshold of the classes with one count and weight.

    ``collapse`` is the lambda_z at and above which they share one mean prediction, NaN for a
    single class.
    """

    count: float
    class_weight: float
    multiplicity: int
    collapse: float


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of a problem in lambda_z.

    Attributes
    ----------
    clusters : list of ClusterThreshold
        In order of falling count.
    lambda_max : float
        Z = 0 at and above it: features carry nothing, the bias alone predicts.
    lambda_b : float
        The weight of the bias penalty that lambda_max holds for.
    num_samples : float
        N.
    """

    clusters: list[ClusterThreshold]
    lambda_max: float
    lambda_b: float
    num_samples: float

    def summary(self) -> str:
        """The thresholds as a few lines of text."""
        lines = [
            f"Z = 0 for lambda_z >= {self.lambda_max:.8g} (lambda_b = {self.lambda_b:.8g})",
            f"{'count':>12} {'classes':>8} {'merge at lambda_z':>18}",
        ]
        for cluster in self.clusters:
            at = "-" if math.isnan(cluster.collapse) else f"{cluster.collapse:.8g}"
            lines.append(f"{cluster.count:>12.10g} {cluster.multiplicity:>8} {at:>18}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The thresholds as plain Python values; NaN thresholds become None."""
        clusters = [asdict(cluster) for cluster in self.clusters]
        for cluster in clusters:
            if math.isnan(cluster["collapse"]):
                cluster["collapse"] = None
        return {
            "lambda_max": self.lambda_max,
            "lambda_b": self.lambda_b,
            "num_samples": self.num_samples,
            "clusters": clusters,
        }


def thresholds(
    counts: ArrayLike, lambda_b: float, class_weights: ArrayLike | None = None
) -> Thresholds:
    """Thresholds in lambda_z of every cluster, and of the zero solution.

    The classes of a cluster with at least two members and count n collapse to one mean prediction
    if and only if lambda_z >= w sqrt(n) / N (Hong and Ling, arXiv 2309.09725; with class weight w,
    derived). Z = 0 if and only if lambda_z >= ||(I - p 1^T) diag(pi / sqrt(n))||_2 with p the
    prediction of the best bias alone.

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
    Thresholds

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts.size)
    lambda_b = check_lambda_b(lambda_b)
    empty = np.empty(0)
    core_weights = empty if weights is None else weights
    if _core.has_distinct(counts, core_weights, _core.lapack_crossover):
        ensure_lapack()
    _, lambda_max = _core.zero_solution(counts, core_weights, lambda_b, empty, empty, 0.0)
    keys = np.stack([-counts, -(np.ones_like(counts) if weights is None else weights)])
    values, sizes = np.unique(keys, axis=1, return_counts=True)
    total = float(counts.sum())
    clusters = [
        ClusterThreshold(
            count=float(-count),
            class_weight=float(-weight),
            multiplicity=int(size),
            collapse=-float(weight) * math.sqrt(-count) / total if size > 1 else math.nan,
        )
        for (count, weight), size in zip(values.T, sizes, strict=True)
    ]
    return Thresholds(clusters, float(lambda_max), lambda_b, total)
