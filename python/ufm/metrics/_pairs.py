"""All pairs of classes in tiles: never a K x K matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ufm.metrics._arrays import (
    Array,
    as_labels,
    check_classes,
    class_sums,
    namespace,
    tiles,
    to_numpy,
    torch_of,
)
from ufm.problem import FloatArray

# Below this share of the squared norms, a squared distance loses more than four digits to
# cancellation when it is taken from inner products.
_CANCELS = 1e-4
# Elements of a block of differences.
_DIFFERENCES = 1 << 20


class Tile(NamedTuple):
    """Rows i and columns j of the matrix of pairs, and where in it i < j."""

    rows: slice
    columns: slice
    square_distances: Array
    pairs: Array


def pair_tiles(X: Array) -> Iterator[Tile]:
    """Tiles that cover every pair i < j of rows of X, with ||x_i - x_j||^2."""
    xp = namespace(X)
    centred = X - X.mean(axis=0)
    squares = (centred * centred).sum(axis=1)
    index = indices(X)
    for rows in tiles(X.shape[0]):
        for columns in tiles(X.shape[0]):
            if columns.start < rows.start:
                continue
            pairs = index[rows][:, None] < index[columns][None, :]
            scale = squares[rows][:, None] + squares[columns][None, :]
            distances = scale - 2.0 * (centred[rows] @ centred[columns].T)
            close = xp.argwhere(pairs & (distances <= _CANCELS * scale))
            # The rows as given: their difference is exact where they nearly agree.
            _repair(distances, X[rows], X[columns], close)
            yield Tile(rows, columns, distances, pairs)


def _repair(distances: Array, left: Array, right: Array, close: Array) -> None:
    step = max(1, _DIFFERENCES // max(left.shape[1], 1))
    for start in range(0, close.shape[0], step):
        i, j = close[start : start + step, 0], close[start : start + step, 1]
        difference = left[i] - right[j]
        distances[i, j] = (difference * difference).sum(axis=1)


def indices(X: Array) -> Array:
    """0, 1, ..., K - 1 of the kind and on the device of X."""
    torch = torch_of(X)
    length = X.shape[0]
    return np.arange(length) if torch is None else torch.arange(length, device=X.device)


class ClusterSums:
    """Mean over the pairs of each pair of clusters, from tiles."""

    def __init__(self, clusters: Array | None, M: Array) -> None:
        self._of: Array | None = None
        if clusters is None:
            return
        self._of = as_labels("clusters", clusters, None, M)
        check_classes("clusters", self._of, M.shape[0])
        sizes = np.bincount(to_numpy(self._of))
        self._number = sizes.size
        pairs = np.outer(sizes, sizes).astype(np.float64)
        pairs[np.diag_indices_from(pairs)] = sizes * (sizes - 1) / 2.0
        self._pairs = pairs
        self._sums = np.zeros((self._number, self._number))

    def add(self, tile: Tile, values: Array) -> None:
        """Add values that are zero away from the tile's pairs."""
        if self._of is None:
            return
        code = self._of[tile.rows][:, None] * self._number + self._of[tile.columns][None, :]
        sums = class_sums(values.reshape(-1, 1), code.reshape(-1), self._number**2)
        self._sums += to_numpy(sums).reshape(self._number, self._number)

    def means(self) -> FloatArray | None:
        """Shape (C, C), symmetric; NaN without pairs; None without clusters."""
        if self._of is None:
            return None
        both = self._sums + self._sums.T
        both[np.diag_indices_from(both)] /= 2.0
        with np.errstate(invalid="ignore"):
            means: FloatArray = np.where(self._pairs > 0, both / np.maximum(self._pairs, 1), np.nan)
        return means
