"""Matrices over classes that depend on clusters alone: :class:`ClusterMatrix`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._html import Shown
from ufm._memory import free_memory
from ufm.clusters import IntArray
from ufm.problem import FloatArray, check_class_weights, check_counts
from ufm.solution import Solution


@dataclass(frozen=True, eq=False)
class Grouping:
    """Classes grouped by equal counts and weights, in order of falling count.

    Attributes
    ----------
    cluster_of : ndarray of shape (K,)
        Cluster of each class.
    count, loss_weight, multiplicity : ndarray of shape (C,)
        Samples per class, loss weight per class pi and number of classes of each cluster.
    num_samples : float
        N.
    """

    cluster_of: IntArray
    count: FloatArray
    loss_weight: FloatArray
    multiplicity: FloatArray
    num_samples: float

    @property
    def class_weight(self) -> FloatArray:
        """Class weight of each cluster, shape (C,)."""
        return self.loss_weight * self.num_samples / self.count


def group(counts: ArrayLike, class_weights: ArrayLike | None = None) -> Grouping:
    """Check counts and weights and group the classes that are alike."""
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    grouped = _core.group(counts, np.empty(0) if weights is None else weights)
    return Grouping(*grouped, num_samples=float(counts.sum()))


@dataclass(frozen=True, eq=False, repr=False)
class ClusterMatrix(Shown):
    """A matrix over classes (K, K) told by C x C numbers, for C clusters.

    Attributes
    ----------
    cluster_of : ndarray of shape (K,)
        Cluster of each class; clusters are in order of falling count.
    own : ndarray of shape (C,)
        Entry (k, k) for the classes k of each cluster.
    between : ndarray of shape (C, C)
        Entry (i, j): that of (l, k) for classes l of cluster i and k of cluster j, l != k; NaN
        where there is no such pair, a cluster of one class with itself.
    """

    cluster_of: IntArray
    own: FloatArray
    between: FloatArray

    @cached_property
    def multiplicity(self) -> FloatArray:
        """Classes per cluster, shape (C,)."""
        return np.bincount(self.cluster_of, minlength=self.own.size).astype(np.float64)

    def dense(self) -> FloatArray:
        """The whole matrix, shape (K, K).

        Raises
        ------
        MemoryError
            If K x K doubles do not fit into the memory that is free.
        """
        size = self.cluster_of.size
        if 8 * size * size > free_memory():
            raise MemoryError(f"{size} x {size} entries do not fit into memory; use own, between")
        dense: FloatArray = self.between[self.cluster_of[:, None], self.cluster_of]
        dense[np.diag_indices(size)] = self.own[self.cluster_of]
        return dense

    def entry(self, j: int, k: int) -> float:
        """Entry of the classes j (row) and k (column)."""
        row, column = int(self.cluster_of[j]), int(self.cluster_of[k])
        size = self.cluster_of.size
        return float(self.own[row] if (j - k) % size == 0 else self.between[row, column])

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {"own": plain(self.own), "between": plain(self.between)}

    # ------------------------------------------------------------------ algebra by clusters

    @classmethod
    def make(cls, cluster_of: IntArray, own: FloatArray, between: FloatArray) -> ClusterMatrix:
        """A matrix with NaN put where a cluster of one class has no second one."""
        between = between.copy()
        single = np.bincount(cluster_of, minlength=own.size) == 1
        between[np.flatnonzero(single), np.flatnonzero(single)] = math.nan
        return cls(cluster_of, own, between)

    @classmethod
    def of_solution(cls, solution: Solution) -> ClusterMatrix:
        """Z of a solution."""
        blocks = solution.blocks
        return cls.make(blocks.cluster_of, blocks.own, blocks.between)

    @property
    def filled(self) -> FloatArray:
        """``between`` with entries that no pair of classes has put to zero, shape (C, C)."""
        return np.where(np.isnan(self.between), 0.0, self.between)

    @property
    def transposed(self) -> ClusterMatrix:
        """Rows and columns exchanged."""
        return ClusterMatrix(self.cluster_of, self.own, self.between.T)

    def inner(self, other: ClusterMatrix) -> float:
        """Sum over all K^2 entries of the product of both matrices."""
        k, a, b = self.multiplicity, self.filled, other.filled
        off: FloatArray = k @ (a * b) @ k
        return float(off - k @ (np.diag(a) * np.diag(b)) + k @ (self.own * other.own))

    def norm(self) -> float:
        """Frobenius norm."""
        return math.sqrt(self.inner(self))

    def gram(self) -> ClusterMatrix:
        """Inner products of the columns: A^T A."""
        filled = self.filled
        extra = self.own - np.diag(filled)
        mixed = extra[:, None] * filled
        between = filled.T @ (self.multiplicity[:, None] * filled) + mixed + mixed.T
        return ClusterMatrix.make(self.cluster_of, np.diag(between) + extra**2, between)

    def centred(self, share: FloatArray | None = None) -> ClusterMatrix:
        """Columns with their mean taken off: (I - 1 p^T) A.

        `share` (C,) is the weight p of each class of a cluster; 1/K by default.
        """
        filled = self.filled
        if share is None:
            share = np.full(self.own.size, 1 / self.cluster_of.size)
        mean = (self.multiplicity * share) @ filled + share * (self.own - np.diag(filled))
        return ClusterMatrix(self.cluster_of, self.own - mean, self.between - mean)

    def plus(self, other: ClusterMatrix, factor: float = 1.0) -> ClusterMatrix:
        """Sum with a multiple of another matrix."""
        return ClusterMatrix(
            self.cluster_of, self.own + factor * other.own, self.between + factor * other.between
        )

    def times(self, factor: float) -> ClusterMatrix:
        """Every entry times a number."""
        return ClusterMatrix(self.cluster_of, factor * self.own, factor * self.between)

    def cosines(self) -> ClusterMatrix:
        """A Gram matrix scaled to cosines; NaN where a vector is zero."""
        norm = np.sqrt(self.own)
        norm[norm == 0] = math.nan
        cosine = np.clip(self.between / norm[:, None] / norm, -1.0, 1.0)
        return ClusterMatrix(self.cluster_of, self.own / norm**2, cosine)


def plain(values: FloatArray) -> list[Any]:
    """Nested lists of floats in which NaN is None."""
    return [
        plain(value) if isinstance(value, np.ndarray) else plain_number(value)
        for value in np.asarray(values)
    ]


def plain_number(value: float) -> float | None:
    """A float, or None for NaN."""
    return None if math.isnan(value) else float(value)
