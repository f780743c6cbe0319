"""Where classes merge and where everything vanishes: :func:`thresholds`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._html import Shown
from ufm._linalg import ensure_lapack
from ufm._loss import PLAIN, Loss, check_loss
from ufm._memory import explained_memory, several_arrays
from ufm.problem import FloatArray, check_counts, check_lambda_b
from ufm.theory._cluster_matrix import group
from ufm.theory._decoupled import Decoupled


@dataclass(frozen=True)
class ClusterThreshold:
    """Collapse threshold of the classes with one count, weight, scale and offset.

    ``collapse`` is the lambda_z at and above which they share one mean prediction, NaN for a
    single class.
    """

    count: float
    class_weight: float
    multiplicity: int
    collapse: float
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, repr=False)
class Thresholds(Shown):
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
    loss : Loss
        What the cross-entropy is taken of.
    """

    clusters: list[ClusterThreshold]
    lambda_max: float
    lambda_b: float
    num_samples: float
    loss: Loss = PLAIN

    def summary(self) -> str:
        """The thresholds as a few lines of text."""
        text = self.loss.describe()
        lines = [
            f"Z = 0 for lambda_z >= {self.lambda_max:.8g} (lambda_b = {self.lambda_b:.8g})",
            *([] if text == PLAIN.describe() else [f"loss: {text}"]),
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
            "loss": self.loss.describe(),
            "clusters": clusters,
        }


def _lambda_max(
    counts: FloatArray,
    weights: FloatArray | None,
    lambda_b: float,
    loss: Loss,
    num_clusters: int,
) -> float:
    """The lambda_z at and above which Z = 0, for checked arguments."""
    if not (loss.smoothing or loss.has_scales or loss.has_offsets):
        # Needs no C x C matrix.
        return Decoupled.of(group(counts, weights), lambda_b).lambda_max()
    if num_clusters >= _core.lapack_crossover:
        ensure_lapack()
    core_weights = np.empty(0) if weights is None else weights
    what = f"lambda_max of {num_clusters} kinds of classes"
    with explained_memory(f"{what} {several_arrays(num_clusters, num_clusters)}"):
        zero = _core.zero_solution(counts, core_weights, lambda_b, **loss.core_arguments())
    return float(zero[1])


def thresholds(
    counts: ArrayLike,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
    *,
    loss: Loss | None = None,
) -> Thresholds:
    """Thresholds in lambda_z of every cluster, and of the zero solution.

    The classes of a cluster with at least two members and count n collapse to one mean prediction
    if and only if lambda_z >= (1 - epsilon) w s sqrt(n) / N (Hong and Ling, arXiv 2309.09725; with
    class weight w, scale s and label smoothing epsilon derived; offsets have no part in it).
    Z = 0 if and only if lambda_z >= ||diag(s) (T - p 1^T) diag(pi / sqrt(n))||_2 with T the
    targets (the identity without smoothing) and p the prediction of the best bias alone.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.
    loss : Loss, optional
        Smoothed labels, scaled and shifted logits (:mod:`ufm.losses`). For oversampling see
        :func:`ufm.losses.oversample`.

    Returns
    -------
    Thresholds

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> found = ufm.thresholds([500] * 5 + [100] * 5, lambda_b=0.02)
    >>> [round(cluster.collapse, 7) for cluster in found.clusters], round(found.lambda_max, 7)
    ([0.0074536, 0.0033333], 0.0074536)
    """
    counts = check_counts(counts)
    loss, weights = check_loss(loss, class_weights, counts)
    lambda_b = check_lambda_b(lambda_b)
    ones = np.ones_like(counts)
    scales = loss.scales if loss.has_scales and loss.scales is not None else ones
    offsets = loss.offsets if loss.has_offsets and loss.offsets is not None else 0.0 * ones
    keys = np.stack([-counts, -(ones if weights is None else weights), -scales, -offsets])
    values, sizes = np.unique(keys, axis=1, return_counts=True)
    lambda_max = _lambda_max(counts, weights, lambda_b, loss, sizes.size)
    total = float(counts.sum())
    kept = 1.0 - loss.smoothing
    clusters = [
        ClusterThreshold(
            count=float(-count),
            class_weight=float(-weight),
            multiplicity=int(size),
            collapse=kept * float(weight * scale) * math.sqrt(-count) / total
            if size > 1
            else math.nan,
            scale=float(-scale),
            offset=float(-offset) + 0.0,
        )
        for (count, weight, scale, offset), size in zip(values.T, sizes, strict=True)
    ]
    return Thresholds(clusters, lambda_max, lambda_b, total, loss)
