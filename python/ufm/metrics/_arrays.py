"""One implementation for NumPy arrays and PyTorch tensors: the few places where they differ.

PyTorch is never imported here: a tensor can only be passed by someone who imported it.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

# A NumPy array or a PyTorch tensor; no type describes both without importing PyTorch.
Array: TypeAlias = Any

EPSILON = float(np.finfo(np.float64).eps)
# Rows and columns of a tile of a K x K matrix: 8 MiB, and a few temporaries of that size.
TILE = 1024
# Elements of a block of features.
_BLOCK_ELEMENTS = 1 << 21


class MetricWarning(UserWarning):
    """A metric was computed, but its value does not mean what its name says."""


def issue(messages: tuple[str, ...]) -> None:
    """Issue what a result has to say as :class:`MetricWarning` of the caller's caller."""
    for message in messages:
        warnings.warn(message, MetricWarning, stacklevel=3)


def torch_of(value: Any) -> Any:
    """The module ``torch`` if the value is a tensor, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(value, torch.Tensor) else None


def namespace(array: Array) -> Any:
    """The module whose functions work on the array: ``numpy`` or ``torch``."""
    return torch_of(array) or np


def as_float64(name: str, value: Any, ndim: int, like: Array | None = None) -> Array:
    """A finite float64 array or tensor with the given number of dimensions.

    With ``like`` it is of its kind and on its device. Tensors are detached; those on a device
    without float64 (MPS) are moved to the CPU.

    Raises
    ------
    TypeError, ValueError
        If the values are not real numbers, not finite, or of another dimension.
    """
    array = _converted(name, value, like)
    if array.ndim != ndim:
        kind = {1: "a vector", 2: "a matrix"}[ndim]
        raise ValueError(f"{name} must be {kind}, got shape {tuple(array.shape)}")
    if not bool(namespace(array).isfinite(array).all()):
        raise ValueError(f"{name} must be finite")
    return array


def _converted(name: str, value: Any, like: Array | None) -> Array:
    torch = torch_of(value)
    if torch is not None:
        if value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{name} must hold real numbers, got a tensor of {value.dtype}")
        if like is not None and torch_of(like) is None:
            return value.detach().to(device="cpu", dtype=torch.float64).numpy()
        device = value.device if like is None else like.device
        if device.type == "mps":
            value, device = value.cpu(), torch.device("cpu")
        return value.detach().to(device=device, dtype=torch.float64)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be rectangular, got ragged {value!r:.80}") from None
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {array.dtype}: {value!r:.80}"
        )
    array = array.astype(np.float64, copy=False)
    torch = torch_of(like)
    return array if like is None or torch is None else torch.tensor(array, device=like.device)


def as_matrix(name: str, value: Any) -> Array:
    """A matrix in whatever precision it has, on a device that has float64; not copied if it is."""
    torch = torch_of(value)
    if torch is None:
        return as_float64(name, value, 2) if not hasattr(value, "dtype") else _two_axes(name, value)
    return _two_axes(name, value.cpu() if value.device.type == "mps" else value)


def _two_axes(name: str, array: Array) -> Array:
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {tuple(array.shape)}")
    return array


def as_labels(name: str, value: Any, num_classes: int | None, like: Array) -> Array:
    """Class indices as int64 of the kind and on the device of ``like``.

    Raises
    ------
    TypeError, ValueError
        If they are not integers from 0 to ``num_classes - 1``.
    """
    torch = torch_of(like)
    if torch_of(value) is not None:
        if (
            value.dtype.is_floating_point
            or value.is_complex()
            or value.dtype == torch_of(value).bool
        ):
            raise TypeError(f"{name} must hold integers, got a tensor of {value.dtype}")
        labels = value.detach()
        labels = labels.cpu().numpy() if torch is None else labels.to(like.device, torch.int64)
    else:
        labels = np.asarray(value)
        if labels.dtype.kind not in "iu" and labels.size:
            raise TypeError(f"{name} must hold integers, got an array of dtype {labels.dtype}")
        labels = labels.astype(np.int64)
        labels = labels if torch is None else torch.tensor(labels, device=like.device)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {tuple(labels.shape)}")
    if labels.shape[0]:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or (num_classes is not None and high >= num_classes):
            limit = "" if num_classes is None else f" and below {num_classes}"
            raise ValueError(f"{name} must be at least 0{limit}, got {low} to {high}")
    return labels if torch is not None else labels.astype(np.int64, copy=False)


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Float64 zeros of the kind and on the device of ``like``."""
    torch = torch_of(like)
    if torch is None:
        return np.zeros(shape)
    return torch.zeros(shape, dtype=torch.float64, device=like.device)


def to_numpy(array: Array) -> Any:
    """A NumPy array with the same numbers."""
    return np.asarray(array) if torch_of(array) is None else array.detach().cpu().numpy()


def class_sums(rows: Array, labels: Array, num_classes: int) -> Array:
    """Sum of the rows of each class, shape (num_classes, d)."""
    shape = (num_classes, rows.shape[1])
    if torch_of(rows) is not None:
        return zeros(shape, rows).index_add_(0, labels, rows)
    entries = labels[:, None] * shape[1] + np.arange(shape[1])
    sums = np.bincount(entries.reshape(-1), rows.reshape(-1), minlength=math.prod(shape))
    return sums.reshape(shape)


def norm(array: Array) -> float:
    """Frobenius norm."""
    return float(namespace(array).linalg.norm(array))


def row_norms(rows: Array) -> Array:
    """Euclidean norm of every row."""
    return namespace(rows).sqrt((rows * rows).sum(axis=1))


def blocks(length: int, width: int) -> Iterator[slice]:
    """Blocks of rows of bounded size."""
    step = max(1, _BLOCK_ELEMENTS // max(width, 1))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def tiles(length: int) -> Iterator[slice]:
    """Blocks of the classes, for matrices of shape (K, K) that are never formed."""
    for start in range(0, length, TILE):
        yield slice(start, min(start + TILE, length))


def check_classes(name: str, array: Array, num_classes: int) -> None:
    """Refuse an array whose first axis is not the classes."""
    if array.shape[0] != num_classes:
        raise ValueError(
            f"{name} must have one row or entry per class, {num_classes}, "
            f"got shape {tuple(array.shape)}"
        )


def check_several(num_classes: int) -> None:
    """Refuse fewer than two classes."""
    if num_classes < 2:
        raise ValueError(f"at least two classes are needed, got {num_classes}")


class Running:
    """Mean and variance of numbers that come in blocks; stable where the variance is small."""

    def __init__(self) -> None:
        self.number = 0
        self.mean = math.nan
        self._squares = 0.0

    def add(self, values: Array) -> None:
        """Take a block of numbers."""
        number = math.prod(values.shape)
        if number == 0:
            return
        mean = float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        if self.number == 0:
            self.number, self.mean, self._squares = number, mean, squares
            return
        total = self.number + number
        change = mean - self.mean
        self._squares += squares + change * change * self.number * number / total
        self.mean += change * number / total
        self.number = total

    @property
    def variance(self) -> float:
        """Population variance, NaN without numbers."""
        return self._squares / self.number if self.number else math.nan
