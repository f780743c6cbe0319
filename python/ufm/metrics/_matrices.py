"""Mean prediction matrices in three forms, read by tiles: dense, in factors, by clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ufm.metrics._arrays import Array, as_float64, namespace, tiles, to_numpy, torch_of
from ufm.problem import FloatArray


@dataclass(frozen=True, eq=False)
class DenseMatrix:
    """A matrix of shape (p, K); column k belongs to class k."""

    values: Array

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.values.shape[1])

    def tile(self, rows: slice, columns: slice) -> Array:
        """A rectangle of the matrix."""
        return self.values[rows, columns]

    def dense(self) -> Array:
        """The whole matrix."""
        return self.values


@dataclass(frozen=True, eq=False)
class FactoredMatrix:
    """A B^T with A and B of shape (K, d)."""

    left: Array
    right: Array

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.right.shape[0])

    def tile(self, rows: slice, columns: slice) -> Array:
        """A rectangle of the matrix."""
        return self.left[rows] @ self.right[columns].T

    def dense(self) -> Array:
        """The whole matrix, K x K."""
        return self.left @ self.right.T


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """K x K entries told by C x C numbers, as :class:`ufm.clusters.Blocks`.

    Attributes
    ----------
    cluster_of : ndarray of shape (K,)
        Cluster of each class.
    own : ndarray of shape (C,)
        Diagonal entries of each cluster's classes.
    between : ndarray of shape (C, C)
        Entry of two different classes, the row's in cluster i and the column's in cluster j.
    """

    cluster_of: Any
    own: FloatArray
    between: FloatArray

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.cluster_of.size)

    @property
    def sizes(self) -> FloatArray:
        """Number of classes of each cluster."""
        return np.bincount(self.cluster_of, minlength=self.own.size).astype(np.float64)

    def tile(self, rows: slice, columns: slice) -> FloatArray:
        """A rectangle of the matrix."""
        of_rows, of_columns = self.cluster_of[rows], self.cluster_of[columns]
        tile: FloatArray = self.between[of_rows[:, None], of_columns[None, :]]
        index = np.arange(self.num_classes)
        equal = index[rows][:, None] == index[columns][None, :]
        tile[equal] = self.own[self.cluster_of[index[rows][equal.any(axis=1)]]]
        return tile

    def dense(self) -> FloatArray:
        """The whole matrix, K x K."""
        everything = slice(0, self.num_classes)
        return self.tile(everything, everything)


ClassMatrix: TypeAlias = DenseMatrix | FactoredMatrix | BlockMatrix


def as_class_matrix(name: str, value: Any, square: bool = True) -> ClassMatrix:
    """An array, a pair (W, M), a solution with ``blocks``, or one of the classes above.

    Raises
    ------
    ValueError, TypeError
        If it is none of them, or its shape does not fit.
    """
    if isinstance(value, DenseMatrix | FactoredMatrix | BlockMatrix):
        return value
    if hasattr(value, "blocks"):
        value = value.blocks
    if all(hasattr(value, part) for part in ("cluster_of", "own", "between")):
        return BlockMatrix(value.cluster_of, value.own, value.between)
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(f"{name} must be a matrix or a pair (W, M), got {len(value)} items")
        right = as_float64(f"M of {name}", value[1], 2)
        left = as_float64(f"W of {name}", value[0], 2, like=right)
        if tuple(left.shape) != tuple(right.shape):
            raise ValueError(
                f"W and M of {name} must have one shape (K, d), "
                f"got {tuple(left.shape)} and {tuple(right.shape)}"
            )
        return FactoredMatrix(left, right)
    matrix = as_float64(name, value, 2)
    if square and matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must have shape (K, K), got {tuple(matrix.shape)}")
    return DenseMatrix(matrix)


def tile_pairs(one: ClassMatrix, other: ClassMatrix) -> Iterator[tuple[Array, Array]]:
    """The same rectangle of two K x K matrices after another; the second like the first."""
    for rows in tiles(one.num_classes):
        for columns in tiles(one.num_classes):
            first, second = one.tile(rows, columns), other.tile(rows, columns)
            if torch_of(first) is not None or torch_of(second) is not None:
                second = as_float64("prediction", second, 2, like=first)
            yield first, second


def class_vectors(matrix: ClassMatrix, by: str = "columns") -> Array:
    """One row per class with the lengths and angles of the columns (or rows) of the matrix."""
    if isinstance(matrix, FactoredMatrix):
        left, right = matrix.left, matrix.right
        if by == "rows":
            left, right = right, left
        # Column k of A B^T is A b_k = Q R b_k, and Q keeps lengths and angles.
        return right @ namespace(left).linalg.qr(left)[1].T
    dense = matrix.dense()
    return dense.T if by == "columns" else dense


def spectral_grams(matrix: ClassMatrix, counts: FloatArray) -> tuple[ClassMatrix, ClassMatrix]:
    """U S U^T and D^(-1/2) V S V^T D^(-1/2) of Z D^(1/2) = U S V^T."""
    root = np.sqrt(counts)
    if not isinstance(matrix, BlockMatrix):
        U, S, Vt = np.linalg.svd(to_numpy(matrix.dense()) * root)
        V = Vt.T / root[:, None]
        return DenseMatrix((U * S) @ U.T), DenseMatrix((V * S) @ V.T)
    sizes = matrix.sizes
    of_cluster = np.zeros(sizes.size)
    of_cluster[matrix.cluster_of] = root
    if not np.array_equal(of_cluster[matrix.cluster_of], root):
        raise ValueError("counts must be equal inside each cluster of the prediction")
    # Z D^(1/2) is a_i I on differences inside cluster i, and a C x C matrix on the rest.
    difference = (matrix.own - np.diag(matrix.between)) * of_cluster
    several = np.sqrt(sizes)
    core = several[:, None] * matrix.between * several * of_cluster
    core[np.diag_indices_from(core)] += difference
    U, S, Vt = np.linalg.svd(core)
    amplitude = np.where(sizes > 1, np.abs(difference), 0.0)
    ones = np.ones_like(of_cluster)
    return (
        _from_core(matrix.cluster_of, (U * S) @ U.T, amplitude, several, ones),
        _from_core(matrix.cluster_of, (Vt.T * S) @ Vt, amplitude, several, of_cluster),
    )


def _from_core(
    cluster_of: Any, core: FloatArray, amplitude: FloatArray, several: FloatArray, root: FloatArray
) -> BlockMatrix:
    between = core / np.outer(several * root, several * root)
    inside = np.diag(core) - amplitude
    other = inside / (several * root) ** 2
    between[np.diag_indices_from(between)] = other
    return BlockMatrix(cluster_of, other + amplitude / root**2, between)
