"""Building blocks of the solvers on plain dense matrices: :func:`svt`, :func:`cross_entropy`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._linalg import ensure_lapack
from ufm._memory import explained_memory, several_arrays
from ufm.problem import FloatArray, check_class_weights, check_counts, check_real


def _matrix(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    if min(array.shape) >= _core.lapack_crossover:
        ensure_lapack()
    return array.astype(np.float64, copy=False)


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
        If X is not a finite real matrix or tau is negative.
    """
    matrix = _matrix("X", X)
    tau = check_real("tau", tau)
    if not 0 <= tau < float("inf"):
        raise ValueError(f"tau must be finite and not negative, got {tau}")
    if matrix.size == 0:
        return matrix.copy()
    with explained_memory(f"svt {several_arrays(*matrix.shape)}"):
        return _core.svt(matrix, tau)


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
        If shapes differ or a value is not allowed.
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    size = counts.size
    matrix = _matrix("Z", Z)
    if matrix.shape != (size, size):
        raise ValueError(f"Z must have shape ({size}, {size}), got {matrix.shape}")
    bias = np.asarray(b)
    if bias.dtype.kind not in "biuf":
        raise TypeError(f"b must hold real numbers, got an array of dtype {bias.dtype}")
    if bias.shape != (size,):
        raise ValueError(f"b must have shape ({size},), got {bias.shape}")
    if not np.isfinite(bias).all():
        raise ValueError("b must be finite")
    empty = np.empty(0)
    with explained_memory(f"cross_entropy {several_arrays(size, size)}"):
        return _core.cross_entropy(matrix, bias, counts, empty if weights is None else weights)
