"""Building blocks of the solvers on plain dense matrices: :func:`svt`, :func:`cross_entropy`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._linalg import ensure_lapack
from ufm._memory import explained_memory, several_arrays
from ufm.problem import FloatArray, check_class_weights, check_counts, check_real, check_vector

# Between these, neither squares nor sums of entries leave double precision.
_SAFE_LOW, _SAFE_HIGH = 1e-100, 1e100


def _matrix(name: str, values: ArrayLike) -> FloatArray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be a matrix, got rows that differ: {values!r:.80}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {array.shape}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{name} must be finite, got {array[row, column]} at [{row}, {column}]")
    if min(array.shape) >= _core.lapack_crossover:
        ensure_lapack()
    return array


def svt(X: ArrayLike, tau: float) -> FloatArray:
    """Singular-value thresholding, the proximal operator of ``tau * ||.||_*``.

    Parameters
    ----------
    X : array_like of shape (m, n)
        Any real, finite matrix.
    tau : float
        What every singular value is lowered by, to zero at the least; not negative.

    Returns
    -------
    ndarray of shape (m, n)
        argmin over Y of ``||Y - X||_F^2 / 2 + tau ||Y||_*``.

    Raises
    ------
    ValueError, TypeError
        If X is not a finite real matrix, tau is negative, or the result leaves double precision
        (possible for entries near 1e308 only).

    Examples
    --------
    >>> import numpy as np
    >>> import ufm
    >>> ufm.svt(np.diag([3.0, 1.0, 0.5]), tau=1.0).diagonal().round(9).tolist()
    [2.0, 0.0, 0.0]
    """
    matrix = _matrix("X", X)
    tau = check_real("tau", tau)
    if not 0 <= tau < float("inf"):
        raise ValueError(f"tau must be finite and not negative, got {tau}")
    if matrix.size == 0:
        return matrix.copy()
    with explained_memory(f"svt {several_arrays(*matrix.shape)}"):
        largest = float(np.abs(matrix).max())
        if largest == 0.0 or _SAFE_LOW < largest < _SAFE_HIGH:
            return _core.svt(matrix, tau)
        # By a power of two, which loses nothing; singular values and their squares stay in range.
        exponent = math.frexp(largest)[1]
        tau_scaled = min(tau, 4 * largest * max(matrix.shape))  # more changes nothing
        scaled = _core.svt(np.ldexp(matrix, -exponent), math.ldexp(tau_scaled, -exponent))
        with np.errstate(over="ignore", under="ignore"):
            result = np.ldexp(scaled, exponent)
    if not np.isfinite(result).all():
        raise ValueError(
            f"X must leave a result within double precision, got entries of up to {largest:g}"
        )
    return result


def cross_entropy(
    Z: ArrayLike, b: ArrayLike, counts: ArrayLike, class_weights: ArrayLike | None = None
) -> tuple[float, FloatArray, FloatArray]:
    """Loss of the convex model and its gradients, for a dense mean prediction matrix.

    The value is ``sum_k pi_k CE(z_k + b, e_k)`` with z_k the k-th column of Z and
    ``pi_k = class_weights[k] counts[k] / sum(counts)``.

    Parameters
    ----------
    Z : array_like of shape (K, K)
        Bias-free logits; column k belongs to class k.
    b : array_like of shape (K,)
        Bias.
    counts : array_like of shape (K,)
        Samples per class; positive.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.

    Returns
    -------
    value : float
    grad_Z : ndarray of shape (K, K)
    grad_b : ndarray of shape (K,)

    Raises
    ------
    ValueError, TypeError
        If shapes differ, a value is not allowed, or logits or the loss leave double precision.

    Examples
    --------
    >>> import numpy as np
    >>> import ufm
    >>> value, grad_z, grad_b = ufm.cross_entropy(np.zeros((4, 4)), np.zeros(4), [50, 50, 5, 5])
    >>> bool(np.isclose(value, np.log(4))), grad_z.shape, grad_b.round(4).tolist()
    (True, (4, 4), [-0.2045, -0.2045, 0.2045, 0.2045])
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    size = counts.size
    matrix = _matrix("Z", Z)
    if matrix.shape != (size, size):
        raise ValueError(f"Z must have shape ({size}, {size}), got {matrix.shape}")
    bias = check_vector("b", b, positive=False)
    if bias.shape != (size,):
        raise ValueError(f"b must have shape ({size},), got {bias.shape}")
    empty = np.empty(0)
    with explained_memory(f"cross_entropy {several_arrays(size, size)}"):
        _check_spread(matrix, bias)
        found = _core.cross_entropy(matrix, bias, counts, empty if weights is None else weights)
    if not all(np.isfinite(part).all() for part in found):
        raise ValueError(
            "class_weights, Z and b must leave a loss within double precision, got weights of up "
            f"to {1.0 if weights is None else weights.max():g} and a value of {found[0]:g}"
        )
    return found


def _check_spread(Z: FloatArray, b: FloatArray) -> None:
    """Refuse logits whose differences, of which the loss is made, are no doubles."""
    if max(np.abs(Z).max(), np.abs(b).max()) < _SAFE_HIGH:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        logits = Z + b[:, None]
        spread = logits.max(axis=0) - logits.min(axis=0)
    bad = ~np.isfinite(spread)
    if bad.any():
        raise ValueError(
            "Z and b must have logits Z + b whose differences are within double precision, got "
            f"more in column {int(np.argmax(bad))}"
        )
