"""A problem in cluster form: classes with equal counts and weights, grouped exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray


@dataclass(frozen=True, eq=False)
class ClusterProblem:
    """K classes as C clusters, ordered by falling count, then falling weight.

    Attributes
    ----------
    cluster_of : ndarray of shape (K,)
        Cluster of each class.
    count, loss_weight, multiplicity : ndarray of shape (C,)
        Samples n_i and loss weight pi_i of each class of the cluster, and its number of classes.
    lambda_z, lambda_b : float
        Weights of the nuclear norm and of the bias penalty.
    """

    cluster_of: NDArray[np.int64]
    count: FloatArray
    loss_weight: FloatArray
    multiplicity: FloatArray
    lambda_z: float
    lambda_b: float

    @property
    def size(self) -> int:
        """C, the number of clusters."""
        return int(self.count.size)

    @property
    def has_bias(self) -> bool:
        """Whether the bias is a variable."""
        return self.lambda_b < math.inf

    @property
    def threshold_ratio(self) -> FloatArray:
        """lambda_z over the threshold pi_i / sqrt(n_i) at which a cluster's classes merge."""
        with np.errstate(over="ignore"):
            return self.lambda_z * np.sqrt(self.count) / self.loss_weight


def group(
    counts: FloatArray, class_weights: FloatArray | None, lambda_z: float, lambda_b: float
) -> ClusterProblem:
    """Group K validated classes into clusters of equal count and weight."""
    weights = np.ones_like(counts) if class_weights is None else class_weights
    order = np.lexsort((-weights, -counts))
    count, weight = counts[order], weights[order]
    first = np.ones(counts.size, dtype=bool)
    first[1:] = (count[1:] != count[:-1]) | (weight[1:] != weight[:-1])
    cluster_of = np.empty(counts.size, dtype=np.int64)
    cluster_of[order] = np.cumsum(first) - 1
    return ClusterProblem(
        cluster_of=cluster_of,
        count=count[first],
        loss_weight=weight[first] * count[first] / counts.sum(),
        multiplicity=np.bincount(cluster_of).astype(np.float64),
        lambda_z=lambda_z,
        lambda_b=lambda_b,
    )
