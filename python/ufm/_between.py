"""The between-cluster matrix M (C, C) of a solution: held whole, or as diagonal plus low rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ufm.problem import FloatArray


@dataclass(frozen=True, eq=False)
class DenseBetween:
    """M as an array of shape (C, C)."""

    matrix: FloatArray

    def dense(self) -> FloatArray:
        """M itself; not to be changed."""
        return self.matrix

    def diagonal(self) -> FloatArray:
        """The diagonal of M, shape (C,)."""
        return np.diagonal(self.matrix).copy()

    def column(self, i: int) -> FloatArray:
        """Column i of M, shape (C,)."""
        return self.matrix[:, i].copy()

    def entry(self, j: int, i: int) -> float:
        """M[j, i]."""
        return float(self.matrix[j, i])


@dataclass(frozen=True, eq=False)
class StructuredBetween:
    """M = diag(d) + left @ right.T with few columns in left and right."""

    d: FloatArray
    left: FloatArray
    right: FloatArray

    def dense(self) -> FloatArray:
        """M as a new array of shape (C, C)."""
        matrix: FloatArray = self.left @ self.right.T
        matrix[np.diag_indices_from(matrix)] += self.d
        return matrix

    def diagonal(self) -> FloatArray:
        """The diagonal of M, shape (C,)."""
        low_rank: FloatArray = np.einsum("ij,ij->i", self.left, self.right)
        return self.d + low_rank

    def column(self, i: int) -> FloatArray:
        """Column i of M, shape (C,)."""
        column: FloatArray = self.left @ self.right[i]
        column[i] += self.d[i]
        return column

    def entry(self, j: int, i: int) -> float:
        """M[j, i]."""
        value = float(self.left[j] @ self.right[i])
        return value + float(self.d[i]) if j == i else value


Between = DenseBetween | StructuredBetween


def unpack_point(
    points: FloatArray | None, start: int, clusters: int, columns: int
) -> tuple[Between, FloatArray, FloatArray]:
    """M, scaled bias and amplitudes of a problem from where the core packed them.

    Parameters
    ----------
    points : ndarray or None
        Those of a whole batch; None stands for zeros.
    start : int
        Where the problem begins.
    clusters, columns : int
        C, and the columns of L in M = diag(d) + L R^T; negative where M is held whole.
    """
    low_rank = (clusters, columns)
    matrix = [(clusters, clusters)] if columns < 0 else [(clusters,), low_rank, low_rank]
    shapes: list[tuple[int, ...]] = [*matrix, (clusters,), (clusters,)]
    if points is None:
        parts = [np.zeros(shape) for shape in shapes]
    else:
        sizes = [math.prod(shape) for shape in shapes]
        # A copy, so that a solution does not keep the whole batch alive.
        pieces = np.split(points[start : start + sum(sizes)].copy(), np.cumsum(sizes)[:-1])
        parts = [p.reshape(s, order="F") for p, s in zip(pieces, shapes, strict=True)]
    *held, scaled_bias, amplitudes = parts
    between = DenseBetween(*held) if columns < 0 else StructuredBetween(*held)
    return between, scaled_bias, amplitudes
