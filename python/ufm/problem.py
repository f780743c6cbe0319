"""Validation of what a user passes in: every check happens before any work."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


# NumPy would make floats of all of these where they are entries of an array of objects.
_NOT_REAL = (
    *(str, bytes, bytearray, bool, np.bool_, complex, np.complexfloating),
    *(np.datetime64, np.timedelta64, np.flexible),
)


def shown(value: Any) -> str:
    """What a user passed in, for a message: short, and shown whatever it is."""
    try:
        return f"{value!r:.80}"
    except Exception:  # such as the digits of an integer that has more than Python writes
        return f"an object of type {type(value).__name__}"


def as_real(name: str, array: NDArray[Any], values: Any) -> NDArray[Any]:
    """An array of real numbers, as it is where it already holds them.

    `values` is what the caller gave, for the message.
    """
    if array.dtype.kind in "iuf":
        return array
    if array.size == 0:
        return np.empty(array.shape)
    if array.dtype.kind != "O":
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {array.dtype}: {shown(values)}"
        )
    try:
        if not any(isinstance(entry, _NOT_REAL) for entry in array.flat):
            return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{name} must be finite, got {shown(values)}") from None
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must hold real numbers, got {shown(values)}")


def _vector(name: str, values: ArrayLike) -> FloatArray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be one-dimensional, got ragged {shown(values)}") from None
    array = as_real(name, array, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    return np.array(array, dtype=np.float64)  # a copy: later changes by the caller stay outside


def _require_positive(name: str, array: FloatArray) -> None:
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(f"{name} must be positive and finite, got {array[index]} at index {index}")


def check_counts(counts: ArrayLike) -> FloatArray:
    """Samples per class as a contiguous float array of shape (K,)."""
    array = _vector("counts", counts)
    if array.size == 0:
        raise ValueError("counts must name at least one class, got an empty array")
    low, high = np.minimum.reduce(array), np.maximum.reduce(array)
    if low > 0 and high < sys.float_info.max / array.size and low / array.size / high > 0:
        return array  # nothing below can fail
    _require_positive("counts", array)
    with np.errstate(over="ignore"):
        total = float(array.sum())
    if not math.isfinite(total):
        raise ValueError(
            f"counts must have a finite sum, got {array.size} of up to {array.max():g}"
        )
    smallest = float(array.min())
    if smallest / total == 0.0:
        raise ValueError(
            "counts must not differ so much that the smallest over their sum is zero in double "
            f"precision, got {smallest:g} at index {int(array.argmin())} and a sum of {total:g}"
        )
    return array


def check_vector(name: str, values: ArrayLike, *, positive: bool) -> FloatArray:
    """A vector of finite numbers with at least one entry."""
    array = _vector(name, values)
    if array.size == 0:
        raise ValueError(f"{name} must have one entry per class, got an empty array")
    if positive:
        _require_positive(name, array)
    elif not np.isfinite(array).all():
        index = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name} must be finite, got {array[index]} at index {index}")
    return array


def check_class_weights(class_weights: ArrayLike | None, counts: FloatArray) -> FloatArray | None:
    """Loss weights per class of shape (K,), or None, for checked counts of shape (K,)."""
    if class_weights is None:
        return None
    array = _vector("class_weights", class_weights)
    if array.shape != counts.shape:
        raise ValueError(
            f"class_weights must have one entry per class, shape ({counts.size},), "
            f"got shape {array.shape}"
        )
    _require_positive("class_weights", array)
    check_loss_weights("class_weights", array, counts)
    return array


def check_loss_weights(name: str, class_weights: FloatArray, counts: FloatArray) -> None:
    """Refuse class weights whose product with the counts leaves double precision."""
    with np.errstate(over="ignore", under="ignore"):
        loss_weights = class_weights * counts / counts.sum()
    bad = ~(np.isfinite(loss_weights) & (loss_weights > 0))
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(
            f"{name} times counts over their sum must be positive and finite in double precision, "
            f"got {class_weights[index]} times {counts[index]} at index {index}"
        )


def check_real(name: str, value: Any) -> float:
    """A real number that is not NaN."""
    if isinstance(value, (str, bytes, bool, np.bool_, complex, np.complexfloating)):
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be finite, got {shown(value)}") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a real number, got {shown(value)}") from None
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, got nan")
    return number


def check_positive(name: str, value: Any) -> float:
    """A positive, finite real number."""
    number = check_real(name, value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} must be positive and finite, got {number}")
    if number < sys.float_info.min:
        raise ValueError(f"{name} must be at least {sys.float_info.min}, got {number}")
    return number


def check_lambda_b(lambda_b: Any) -> float:
    """Weight of the bias penalty: positive, 0 (unregularised bias) or infinity (no bias)."""
    number = check_real("lambda_b", lambda_b)
    if number < 0:
        raise ValueError(
            f"lambda_b must be positive, 0 (unregularised bias) or inf (no bias), got {number}"
        )
    return number


def check_limit(name: str, value: Any) -> int | None:
    """A positive integer, or None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a positive integer or None, got {shown(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a positive integer or None, got {shown(value)}") from None
    if not 0 < number < 2**31:
        raise ValueError(f"{name} must lie between 1 and 2147483647, got {shown(number)}")
    return number


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {shown(value)}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {shown(value)}")
    return value
