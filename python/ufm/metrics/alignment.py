"""Classifier against class means: :func:`nc3`, :func:`unc3` and :func:`factor_balance`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ufm.metrics._arrays import (
    EPSILON,
    Array,
    Running,
    as_float64,
    check_classes,
    issue,
    norm,
    row_norms,
)
from ufm.metrics.angles import centred_means, product_distance
from ufm.problem import check_positive


@dataclass(frozen=True)
class NC3:
    """Self-duality of classifier and centred class means.

    Attributes
    ----------
    self_duality : float
        || W/||W||_F - C/||C||_F ||_F.
    product_distance : float
        || W C^T/||W C^T||_F - E/sqrt(K-1) ||_F.
    warnings : tuple of str
        Set where W or C is zero (the numbers are NaN then).
    """

    self_duality: float
    product_distance: float
    warnings: tuple[str, ...]


def nc3(W: Array, M: Array, mu: Array | None = None) -> NC3:
    """Whether the classifier agrees with the centred class means up to one factor.

    The target of balanced classes only; with imbalanced ones :func:`factor_balance` vanishes
    instead.

    Parameters
    ----------
    W : array or tensor of shape (K, d)
        Classifier.
    M : array or tensor of shape (K, d)
        Class means.
    mu : array or tensor of shape (d,), optional
        Global mean; the mean of the class means where not given.

    Returns
    -------
    NC3

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from ufm import metrics
    >>> frame = np.eye(4) - 1 / 4
    >>> round(metrics.nc3(W=3 * frame, M=frame, mu=frame.mean(axis=0)).self_duality, 6)
    0.0
    """
    W, C = _pair(W, M, mu)
    length_w, length_c = norm(W), norm(C)
    if length_w == 0 or length_c == 0:
        messages = ("the classifier or all centred class means are zero: NC3 is undefined",)
        issue(messages)
        return NC3(math.nan, math.nan, messages)
    return NC3(norm(W / length_w - C / length_c), product_distance(W, C), ())


@dataclass(frozen=True)
class UNC3:
    """Uniform duality: agreement of each class's own weight and mean.

    Attributes
    ----------
    variance : float
        Population variance over k of cos(w_k, c_k); ``float(result)``.
    mean : float
        Mean of the same cosines: a variance of zero says nothing of the angle itself.
    warnings : tuple of str
        Set where a cosine is undefined; its class is left out.
    """

    variance: float
    mean: float
    warnings: tuple[str, ...]

    def __float__(self) -> float:
        return self.variance


def unc3(W: Array, M: Array, mu: Array | None = None) -> UNC3:
    """Variance over the classes of cos(w_k, c_k), same class on both sides.

    Parameters
    ----------
    W, M, mu
        As for :func:`nc3`.

    Returns
    -------
    UNC3

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    W, C = _pair(W, M, mu)
    length_w, length_c = row_norms(W), row_norms(C)
    defined = (length_w > 64.0 * EPSILON * float(length_w.max())) & (
        length_c > 64.0 * EPSILON * float(length_c.max())
    )
    cosines = Running()
    products = (W[defined] * C[defined]).sum(axis=1)
    cosines.add(products / (length_w[defined] * length_c[defined]))
    undefined = int((~defined).sum())
    messages = (f"{undefined} classes have no direction and are left out",) if undefined else ()
    issue(messages)
    return UNC3(cosines.variance, cosines.mean, messages)


@dataclass(frozen=True)
class FactorBalance:
    """Residual of lambda_W W^T W = lambda_H M^T D M; ``float(result)`` is the relative one.

    Attributes
    ----------
    absolute : float
        || lambda_W W^T W - lambda_H M^T D M ||_F.
    relative : float
        That over the mean of the two norms; NaN where both are zero.
    """

    absolute: float
    relative: float

    def __float__(self) -> float:
        return self.relative


def factor_balance(
    W: Array, M: Array, counts: Array, lambda_w: float, lambda_h: float
) -> FactorBalance:
    """NC3 of the unconstrained feature model, || lambda_W W^T W - lambda_H M^T D M ||_F.

    Zero at any stationary point of the penalised problem with collapsed features, for any counts;
    self-duality up to a factor follows only for balanced classes (derived from the stationarity
    conditions in Hong and Ling, arXiv 2309.09725).

    Parameters
    ----------
    W : array or tensor of shape (K, d)
        Classifier.
    M : array or tensor of shape (K, d)
        Class means, not centred.
    counts : array or tensor of shape (K,)
        Samples per class.
    lambda_w, lambda_h : float
        Weights of (1/2) ||W||_F^2 and of (1/2) the sum over samples of ||h||^2.

    Returns
    -------
    FactorBalance

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> from ufm import metrics
    >>> counts = [500] * 5 + [100] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.0027, lambda_b=0.02)
    >>> W, H = solution.factors(lambda_w=0.0054)
    >>> metrics.factor_balance(W, H.T, counts, 0.0054, 0.0027**2 / 0.0054).relative < 1e-6
    True
    """
    lambda_w = check_positive("lambda_w", lambda_w)
    lambda_h = check_positive("lambda_h", lambda_h)
    M = as_float64("M", M, 2)
    W = _like_means(W, M)
    counts = as_float64("counts", counts, 1, like=M)
    check_classes("counts", counts, M.shape[0])
    left = lambda_w * (W.T @ W)
    right = lambda_h * (M.T @ (M * counts[:, None]))
    absolute = norm(left - right)
    scale = 0.5 * (norm(left) + norm(right))
    return FactorBalance(absolute, absolute / scale if scale > 0 else math.nan)


def _like_means(W: Array, M: Array) -> Array:
    W = as_float64("W", W, 2, like=M)
    if tuple(W.shape) != tuple(M.shape):
        raise ValueError(
            f"W must have the shape of M, {tuple(M.shape)}, one row per class, got {tuple(W.shape)}"
        )
    return W


def _pair(W: Array, M: Array, mu: Array | None) -> tuple[Array, Array]:
    C = centred_means(M, mu)
    return _like_means(W, C), C
