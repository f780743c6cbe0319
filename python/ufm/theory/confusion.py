"""Which classes a network at the optimum confuses, without a test set: :func:`confusion`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufm._html import Shown
from ufm.clusters import IntArray
from ufm.problem import FloatArray, check_real
from ufm.solution import Solution
from ufm.theory._cluster_matrix import ClusterMatrix
from ufm.theory.cosines import check_solution

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ClusterConfusion:
    """What the samples of one class of a cluster are taken for.

    Attributes
    ----------
    count, class_weight : float
        Samples and loss weight of each class of the cluster.
    multiplicity : int
        Number of classes.
    predicted_clusters : tuple of int
        Clusters with a class of the largest logit.
    num_predicted : int
        Number of classes with the largest logit, the tie set.
    includes_own : bool
        Whether the class itself is one of them.
    bias_only : bool
        Whether its mean prediction is zero, so that the bias alone decides.
    margin : float
        Own logit less the largest other one, with bias; 0 in a tie, negative where another class
        is predicted. Infinite for a problem of one class.
    own_probability : float
        Softmax probability of the class itself.
    accuracy : float
        Probability that the class is called by its name when ties are broken at random.
    """

    count: float
    class_weight: float
    multiplicity: int
    predicted_clusters: tuple[int, ...]
    num_predicted: int
    includes_own: bool
    bias_only: bool
    margin: float
    own_probability: float
    accuracy: float


@dataclass(frozen=True, eq=False, repr=False)
class Confusion(Shown):
    """Predictions of a network at the optimum for the samples of each class.

    All samples of a class have the same features there, hence the same logits z_k + b. The class
    with the largest logit is predicted; of several with the same logit each is predicted with the
    same probability, as when small independent noise on the features breaks the tie.

    Attributes
    ----------
    solution : Solution
        What the predictions come from.
    probability : ClusterMatrix
        Softmax: entry (j, k) is the probability of class j for the samples of class k.
    predicted : ClusterMatrix
        Entry (j, k) is the probability that class j is predicted for the samples of class k.
    clusters : list of ClusterConfusion
        In order of falling count.
    """

    solution: Solution
    probability: ClusterMatrix
    predicted: ClusterMatrix
    clusters: list[ClusterConfusion]

    @cached_property
    def accuracy(self) -> FloatArray:
        """Expected accuracy of each class, shape (K,)."""
        accuracy: FloatArray = self.predicted.own[self.solution.cluster_of]
        return accuracy

    @property
    def training_accuracy(self) -> float:
        """Expected share of the N samples that are called by their name."""
        counts = self.solution.counts
        return float(self.accuracy @ counts / counts.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Expected accuracy, averaged over classes."""
        return float(self.accuracy.mean())

    def predicted_classes(self, k: int) -> IntArray:
        """Classes predicted for the samples of class k: one, or several in a tie."""
        k = self.solution._class_index("k", k)
        cluster = self.solution.cluster_of[k]
        chosen: BoolArray = (self.predicted.filled[:, cluster] > 0)[self.solution.cluster_of]
        chosen[k] = self.predicted.own[cluster] > 0
        return np.flatnonzero(chosen)

    def summary(self) -> str:
        """The predictions per cluster as a table, at most 20 clusters of it."""
        lines = [
            f"expected accuracy on the training samples {self.training_accuracy:.4f}, "
            f"over classes {self.balanced_accuracy:.4f}",
            f"{'count':>12} {'classes':>8} {'own prob.':>10} {'margin':>10} {'accuracy':>9}"
            "  predicted",
        ]
        for cluster in self.clusters[:20]:
            lines.append(
                f"{cluster.count:>12.10g} {cluster.multiplicity:>8} "
                f"{cluster.own_probability:>10.4g} {cluster.margin:>10.4g} "
                f"{cluster.accuracy:>9.4f}  {self._told(cluster)}"
            )
        if len(self.clusters) > 20:
            lines.append(f"... and {len(self.clusters) - 20} clusters more")
        return "\n".join(lines)

    def _told(self, cluster: ClusterConfusion) -> str:
        if cluster.includes_own and cluster.num_predicted == 1:
            return "itself"
        counts = ", ".join(f"{self.clusters[i].count:.10g}" for i in cluster.predicted_clusters)
        why = " by the bias alone" if cluster.bias_only else ""
        return f"{cluster.num_predicted} classes of count {counts}{why}"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {
            "training_accuracy": self.training_accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "clusters": [
                {**vars(cluster), "predicted_clusters": list(cluster.predicted_clusters)}
                for cluster in self.clusters
            ],
            "probability": self.probability.to_dict(),
        }


def confusion(solution: Solution, *, tie_tolerance: float = 1e-9) -> Confusion:
    """Predict which classes are confused, from the solution alone.

    Parameters
    ----------
    solution : Solution
        Result of :func:`ufm.solve`.
    tie_tolerance : float
        Logits within this of the largest one count as equal to it. Merged classes have equal logits
        to the last bit; the default leaves room for rounding.

    Returns
    -------
    Confusion

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    MemoryError
        If C x C doubles for C clusters do not fit into memory.

    Examples
    --------
    >>> import ufm
    >>> solution = ufm.solve([500] * 5 + [100] * 5, lambda_z=0.0051, lambda_b=0.02)
    >>> minority = ufm.confusion(solution).clusters[1]
    >>> minority.bias_only, minority.predicted_clusters, minority.accuracy
    (True, (0,), 0.0)
    """
    check_solution(solution)
    tie_tolerance = check_real("tie_tolerance", tie_tolerance)
    if not 0 <= tie_tolerance < np.inf:
        raise ValueError(f"tie_tolerance must be finite and not negative, got {tie_tolerance}")
    bias = solution.scaled_bias / np.sqrt(solution.multiplicity)
    Z = ClusterMatrix.of_solution(solution)
    own, others = Z.own + bias, Z.between + bias[:, None]
    rivals = np.where(np.isnan(others), -np.inf, others)
    best_other = rivals.max(axis=0)
    best = np.maximum(own, best_other)

    probability = _softmax(Z, own, others, best)
    own_tied, tied = own >= best - tie_tolerance, rivals >= best - tie_tolerance
    k = solution.multiplicity
    size = own_tied + k @ tied - np.diag(tied)
    between = ClusterMatrix.make(Z.cluster_of, own_tied / size, tied / size)
    bias_only = (np.abs(np.where(np.isnan(Z.between), 0.0, Z.between)).max(axis=0) == 0) & (
        Z.own == 0
    )
    margin = np.where(own_tied & (size > 1), 0.0, own - best_other)
    count = solution.cluster_count
    weight = solution.cluster_loss_weight * solution.counts.sum() / count
    clusters = []
    for i in range(count.size):
        reached = tied[:, i].copy()
        reached[i] |= own_tied[i]
        clusters.append(
            ClusterConfusion(
                count=float(count[i]),
                class_weight=1.0 if solution.class_weights is None else float(weight[i]),
                multiplicity=int(k[i]),
                predicted_clusters=tuple(np.flatnonzero(reached).tolist()),
                num_predicted=int(size[i]),
                includes_own=bool(own_tied[i]),
                bias_only=bool(bias_only[i]),
                margin=float(margin[i]),
                own_probability=float(probability.own[i]),
                accuracy=float(between.own[i]),
            )
        )
    return Confusion(solution, probability, between, clusters)


def _softmax(
    Z: ClusterMatrix, own: FloatArray, others: FloatArray, best: FloatArray
) -> ClusterMatrix:
    """Column-wise softmax of the logits, which are given with their largest per column."""
    own, others = np.exp(own - best), np.exp(others - best)
    filled = np.where(np.isnan(others), 0.0, others)
    total = own + Z.multiplicity @ filled - np.diag(filled)
    return ClusterMatrix(Z.cluster_of, own / total, others / total)
