"""Angles between the mean predictions of classes: :func:`prediction_cosines`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ufm._html import Shown
from ufm.problem import FloatArray, check_choice
from ufm.solution import Solution
from ufm.theory._cluster_matrix import ClusterMatrix, plain

Side = Literal["columns", "rows"]


@dataclass(frozen=True, eq=False, repr=False)
class Cosines(Shown):
    """Pairwise cosines of class vectors, cluster by cluster.

    Attributes
    ----------
    count : ndarray of shape (C,)
        Samples per class of each cluster.
    matrix : ClusterMatrix
        The cosines: ``matrix.between[i, j]`` for two different classes of the clusters i and j;
        NaN where a vector is zero or a cluster has no second class.
    """

    count: FloatArray
    matrix: ClusterMatrix

    @property
    def within(self) -> FloatArray:
        """Cosine of two classes of each cluster, shape (C,)."""
        return np.diag(self.matrix.between).copy()

    @property
    def between(self) -> FloatArray:
        """Cosine of classes of two clusters, shape (C, C); its diagonal is ``within``."""
        return self.matrix.between

    def dense(self) -> FloatArray:
        """Cosines of all pairs of classes, shape (K, K)."""
        return self.matrix.dense()

    def summary(self) -> str:
        """The cosines as a small table, at most 12 clusters of it."""
        shown = range(min(self.count.size, 12))
        lines = [f"{'count':>12} " + " ".join(f"{self.count[j]:>9.6g}" for j in shown)]
        lines += [
            f"{self.count[i]:>12.10g} " + " ".join(f"{self.between[i, j]:>9.5f}" for j in shown)
            for i in shown
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {"count": plain(self.count), "cosine": plain(self.between)}


def prediction_cosines(solution: Solution, of: Side = "columns") -> Cosines:
    """Cosines of the class vectors of Z, without forming Z.

    Column k of Z is the mean prediction of class k; row k gathers the logits that all classes give
    to class k. The two differ for imbalanced classes.

    Parameters
    ----------
    solution : Solution
        Result of :func:`ufm.solve`.
    of : {"columns", "rows"}
        Which vectors to compare.

    Returns
    -------
    Cosines
        C x C numbers for C clusters.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    MemoryError
        If C x C doubles do not fit into memory.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [250] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.1 / sum(counts), lambda_b=0.02)
    >>> cosines = ufm.prediction_cosines(solution)
    >>> cosines.within.round(3).tolist(), round(float(cosines.between[0, 1]), 3)
    ([-0.138, -0.078], -0.111)
    """
    check_solution(solution)
    side = check_choice("of", of, ("columns", "rows"))
    Z = ClusterMatrix.of_solution(solution)
    vectors = Z if side == "columns" else Z.transposed
    return Cosines(solution.cluster_count.copy(), vectors.gram().cosines())


def check_solution(solution: Any) -> Solution:
    """The argument, if it is a Solution."""
    if not isinstance(solution, Solution):
        raise TypeError(f"solution must be a ufm.Solution, got {type(solution).__name__}")
    return solution
