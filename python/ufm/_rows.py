"""Arguments of many problems as flat arrays: broadcasting, and checks that name the problem."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm import _core
from ufm.problem import (
    FloatArray,
    as_real,
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_positive,
)

IntArray = NDArray[np.int64]

_ROWS = "an (M, K) array, a sequence of M one-dimensional arrays or one array of shape (K,)"


@dataclass(frozen=True)
class Rows:
    """Rows of differing lengths, one per problem, in one flat array.

    Attributes
    ----------
    values : ndarray
        The rows, one after the other; problems may share a row.
    start, length : ndarray of shape (M,)
        Where the row of each problem begins and how long it is.
    shared : bool
        Whether one row was given for all problems.
    """

    values: FloatArray
    start: IntArray
    length: IntArray
    shared: bool = False

    def __len__(self) -> int:
        return int(self.start.size)

    def row(self, index: int) -> FloatArray:
        """Row of one problem, as a view."""
        start = self.start[index]
        return self.values[start : start + self.length[index]]

    def take(self, which: Any) -> Rows:
        """Rows of some of the problems, without copying values."""
        return Rows(self.values, self.start[which], self.length[which], self.shared)

    def expand(self, size: int) -> Rows:
        """A single row repeated for many problems, without copying values."""
        if len(self) == size:
            return self
        return Rows(
            self.values, np.repeat(self.start, size), np.repeat(self.length, size), self.shared
        )


@dataclass(frozen=True)
class Problems:
    """Checked arguments of M problems; ``weights`` is None for plain cross-entropy."""

    counts: Rows
    weights: Rows | None
    lambda_z: FloatArray
    lambda_b: FloatArray


def check_problems(
    counts: ArrayLike | Iterable[ArrayLike],
    lambda_z: ArrayLike,
    lambda_b: ArrayLike,
    class_weights: ArrayLike | Iterable[ArrayLike] | None,
    num_losses: int | None,
) -> Problems:
    """Broadcast the arguments of many problems against each other and check them all.

    ``num_losses`` is the number of losses, where one was given for each problem.
    """
    count_rows = _parse_rows("counts", counts)
    weight_rows = None if class_weights is None else _parse_rows("class_weights", class_weights)
    lambda_z_array = _parameters("lambda_z", lambda_z, check_positive)
    lambda_b_array = _parameters("lambda_b", lambda_b, lambda _, value: check_lambda_b(value))
    size = _common_size(count_rows, weight_rows, lambda_z_array, lambda_b_array, num_losses)
    count_rows = count_rows.expand(size)
    _check_counts(count_rows)
    if weight_rows is not None:
        weight_rows = weight_rows.expand(size)
        check_weights(weight_rows, count_rows)
    return Problems(
        count_rows,
        weight_rows,
        np.array(np.broadcast_to(lambda_z_array, size)),
        np.array(np.broadcast_to(lambda_b_array, size)),
    )


def _parse_rows(name: str, values: Any) -> Rows:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        return _ragged_rows(name, values)
    if array.dtype.kind == "O" and array.ndim == 1 and any(np.ndim(item) for item in array):
        return _ragged_rows(name, array)
    if array.size == 0 and array.ndim == 1:
        empty = np.empty(0, dtype=np.int64)
        return Rows(np.empty(0), empty, empty)
    array = as_real(name, array, values)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be {_ROWS}, got shape {array.shape}")
    shared = array.ndim == 1
    size, classes = (1, array.shape[0]) if shared else array.shape
    return Rows(
        # A copy, which neither the caller nor another thread can change during the solve.
        np.array(array, dtype=np.float64, order="C").reshape(-1),
        np.arange(size, dtype=np.int64) * classes,
        np.full(size, classes, dtype=np.int64),
        shared,
    )


def _ragged_rows(name: str, values: Iterable[Any]) -> Rows:
    rows = []
    for index, value in enumerate(values):
        try:
            row = np.asarray(value)
        except ValueError:
            raise ValueError(
                f"problem {index}: {name} must be one-dimensional, got ragged {value!r:.80}"
            ) from None
        row = as_real(f"problem {index}: {name}", row, value)
        if row.ndim != 1:
            raise ValueError(
                f"problem {index}: {name} must be one-dimensional, got shape {row.shape}"
            )
        rows.append(row)
    length = np.array([row.size for row in rows], dtype=np.int64)
    flat = np.concatenate(rows, dtype=np.float64, casting="unsafe")
    return Rows(flat, np.cumsum(length) - length, length)


def _parameters(name: str, value: Any, check: Callable[[str, Any], float]) -> FloatArray:
    if value is None or isinstance(value, (str, bytes)) or np.isscalar(value):
        return np.array(check(name, value))
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a number or have shape (M,), got {value!r:.80}") from None
    if array.ndim == 0:
        return np.array(check(name, value))
    if array.ndim != 1:
        raise ValueError(f"{name} must be a number or have shape (M,), got shape {array.shape}")
    array = as_real(name, array, value).astype(np.float64)
    # Zero and infinity are allowed for one of the two: the check knows.
    suspects = ~(array >= sys.float_info.min) | np.isinf(array)
    for index in np.flatnonzero(suspects):
        try:
            check(name, array[index])
        except (ValueError, TypeError) as error:
            blame(int(index), error)
    return array


def _common_size(
    counts: Rows,
    weights: Rows | None,
    lambda_z: FloatArray,
    lambda_b: FloatArray,
    num_losses: int | None,
) -> int:
    shapes: dict[str, tuple[int, ...]] = {
        "counts": () if counts.shared else (len(counts),),
        "lambda_z": lambda_z.shape,
        "lambda_b": lambda_b.shape,
    }
    if weights is not None:
        shapes["class_weights"] = () if weights.shared else (len(weights),)
    if num_losses is not None:
        shapes["loss"] = (num_losses,)
    try:
        shape = np.broadcast_shapes(*shapes.values())
    except ValueError:
        told = ", ".join(f"{name} for {shape[0]}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the arguments differ in their number of problems: {told}") from None
    return shape[0] if shape else 1


def _check_counts(rows: Rows) -> None:
    if not len(rows):
        return
    empty = rows.length == 0
    bad = int(np.argmax(empty)) if empty.any() else -1
    if bad < 0:
        bad = _core.first_bad_row(rows.values, rows.start, rows.length)
    if bad >= 0:
        try:
            check_counts(rows.row(bad))
        except ValueError as error:
            blame(bad, error, rows)


def check_weights(rows: Rows, counts: Rows) -> None:
    differs = rows.length != counts.length
    bad = int(np.argmax(differs)) if differs.any() else -1
    if bad < 0:
        bad = _core.first_bad_weights(
            counts.values, counts.start, rows.values, rows.start, rows.length
        )
    if bad >= 0:
        try:
            check_class_weights(rows.row(bad), counts.row(bad))
        except ValueError as error:
            blame(bad, error, rows if counts.shared else None)


def blame(index: int, error: Exception, rows: Rows | None = None) -> NoReturn:
    """Raise the error again with the problem's index, unless all problems share the row."""
    if rows is not None and rows.shared:
        raise error
    raise type(error)(f"problem {index}: {error}") from None
