"""All pairs of classes in tiles: never a K x K matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False)
class Tile:
    """Rows i and columns j of the matrix of pairs, of which only i < j count."""

    rows: slice
    columns: slice
    square_distances: Array
    # Where i < j; None for a tile above the diagonal, where that is everywhere.
    upper: Array | None

    def chosen(self, values: Array) -> Array:
        """The values of the pairs i < j, flat."""
        return values.reshape(-1) if self.upper is None else values[self.upper]

    def masked(self, values: Array, other: float) -> Array:
        """The values with ``other`` away from the pairs i < j."""
        if self.upper is None:
            return values
        xp = namespace(values)
        return xp.where(self.upper, values, xp.full_like(values, other))


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
            scale = squares[rows][:, None] + squares[columns][None, :]
            distances = centred[rows] @ (-2.0 * centred[columns].T)
            distances += scale
            close = distances <= _CANCELS * scale
            upper = None
            if columns.start == rows.start:
                upper = index[rows][:, None] < index[columns][None, :]
                close &= upper
            if bool(close.any()):
                # The rows as given: their difference is exact where they nearly agree.
                _repair(distances, X[rows], X[columns], xp.argwhere(close))
            yield Tile(rows, columns, distances, upper)


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
