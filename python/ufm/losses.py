"""The loss as an option of the problem: :class:`ufm.Loss` and the remedies for imbalance.

Every function returns something that :func:`ufm.solve` and :func:`ufm.thresholds` understand, and
says by how much it moves the **collapse threshold**: the lambda_z at and above which the classes
with n samples share one mean prediction. Plain cross-entropy has sqrt(n) / N. A remedy protects a
minority only if it raises that number for the minority (derived; confirmed by solving on both
sides):

===========================  ===========================  ============================
remedy                       threshold of a class         protects a minority?
===========================  ===========================  ============================
:func:`label_smoothing`      (1 - epsilon) sqrt(n) / N    no, all merge sooner
:func:`logit_adjustment`     sqrt(n) / N                  no, unchanged
:func:`cdt`                  delta sqrt(n) / N            no: delta < 1, merges sooner
:func:`vector_scaling`       w delta sqrt(n) / N          only through its weights w
:func:`inverse_frequency`    1 / (K sqrt(n))              yes; majority merges first
:func:`class_balanced`       w sqrt(n) / N                yes, w is larger for rare
:func:`oversample`           sqrt(r n) / N_r              yes, where r > (N_r / N)^2
===========================  ===========================  ============================

Importing this module needs numpy alone.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._loss import Loss
from ufm._oversampling import Oversampling, oversample
from ufm.problem import FloatArray, check_class_weights, check_counts, check_real

__all__ = [
    "Loss",
    "Oversampling",
    "cdt",
    "class_balanced",
    "inverse_frequency",
    "label_smoothing",
    "logit_adjustment",
    "oversample",
    "vector_scaling",
]


def label_smoothing(epsilon: float) -> Loss:
    """Label smoothing: the target of class k is (1 - epsilon) e_k + (epsilon / K) 1.

    Classes merge at (1 - epsilon) sqrt(n) / N: smoothing hastens the collapse of every cluster by
    the same factor and protects no minority. Z stays bounded as lambda_z vanishes.

    Parameters
    ----------
    epsilon : float
        In [0, 1).

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If epsilon is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.label_smoothing(0.1)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [20.1246, 9.0]
    """
    return Loss(smoothing=_check_between("epsilon", epsilon, 0.0, 1.0))


def logit_adjustment(counts: ArrayLike, tau: float = 1.0) -> Loss:
    """Logit adjustment: tau log(n_k / N) is added to the logits of class k during training.

    The logit-adjusted loss of Menon et al. (2021). It corrects the balance between clusters and
    leaves every collapse threshold where it is: it does not prevent minority collapse.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    tau : float
        Strength; 1 makes the loss consistent for the balanced error.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.logit_adjustment(counts)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [22.3607, 10.0]
    """
    return Loss(offsets=_prior_offsets(check_counts(counts), tau))


def cdt(counts: ArrayLike, gamma: float) -> Loss:
    """Class-dependent temperatures: logits of class k times delta_k = (n_k / max n)^gamma.

    The CDT loss of Ye et al. (2020), which divides by a_k = (max n / n_k)^gamma. The threshold of
    class k becomes delta_k sqrt(n_k) / N: for gamma > 0 it is lower for a minority, whose classes
    merge *sooner*. (Where they are apart, their bias-free logits are the larger.)

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    gamma : float
        Exponent; 0 is plain cross-entropy.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.cdt(counts, gamma=0.2)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [22.3607, 7.2478]
    """
    return Loss(scales=_temperatures(check_counts(counts), gamma))


def vector_scaling(
    counts: ArrayLike,
    *,
    gamma: float = 0.0,
    tau: float = 0.0,
    class_weights: ArrayLike | None = None,
) -> Loss:
    """Vector-scaling loss: class weights, multiplicative and additive adjustment in one.

    The VS loss of Kini et al. (2021): logits delta_k (z_k + b_k) + tau log(n_k / N) with
    delta_k = (n_k / max n)^gamma, weighted by ``class_weights``. The threshold of class k is
    w_k delta_k sqrt(n_k) / N: of the three only the weights protect a minority.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    gamma : float
        Exponent of the scales, as in :func:`cdt`.
    tau : float
        Strength of the offsets, as in :func:`logit_adjustment`.
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.vector_scaling(counts, gamma=0.2)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [22.3607, 7.2478]
    """
    values = check_counts(counts)
    return Loss(
        offsets=_prior_offsets(values, tau),
        scales=_temperatures(values, gamma),
        class_weights=check_class_weights(class_weights, values),
    )


def inverse_frequency(counts: ArrayLike, power: float = 1.0) -> Loss:
    """Class weights proportional to n_k^(-power), with a weighted mean over the samples.

    Normalised so that sum_k w_k n_k = N. Power 1 gives every class the loss weight 1/K, w_k =
    N / (K n_k), and the threshold 1 / (K sqrt(n_k)): minorities are safest and the *majority*
    collapses first. Power 1/2 gives all clusters one and the same threshold, the most that class
    weights with this normalisation can do for the cluster that collapses first.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    power : float
        0 is plain cross-entropy.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.inverse_frequency(counts)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [13.4164, 30.0]
    """
    values = check_counts(counts)
    exponent = _check_finite("power", power)
    with np.errstate(over="ignore", under="ignore"):
        weights = (values / values.max()) ** -exponent
    return Loss(class_weights=_as_weighted_mean(values, weights, f"power = {exponent}"))


def class_balanced(counts: ArrayLike, beta: float) -> Loss:
    """Class weights by the effective number of samples, (1 - beta) / (1 - beta^n_k).

    The weights of Cui et al. (2019), here normalised so that sum_k w_k n_k = N (a weighted mean
    over the samples); they normalise sum_k w_k = K instead, which multiplies the loss by a
    constant c and is the same as dividing lambda_z and lambda_b by c. The threshold of class k is
    w_k sqrt(n_k) / N, raised for minorities.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    beta : float
        In [0, 1): 0 is plain cross-entropy, near 1 inverse frequency.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> loss = ufm.losses.class_balanced(counts, beta=0.999)
    >>> [round(c.collapse * 3000, 4) for c in ufm.thresholds(counts, 0.02, loss=loss).clusters]
    [14.6879, 27.1569]
    """
    values = check_counts(counts)
    beta = _check_between("beta", beta, 0.0, 1.0)
    if beta == 0.0:
        return Loss(class_weights=np.ones(values.size))
    with np.errstate(over="ignore"):
        # 1 - beta^n without cancellation for beta near 1
        weights = (1.0 - beta) / -np.expm1(values * np.log(beta))
    return Loss(class_weights=_as_weighted_mean(values, weights, f"beta = {beta}"))


def _prior_offsets(counts: FloatArray, tau: float) -> FloatArray:
    """Offsets tau log(n_k / N), where n_k / N itself may be too small for a double."""
    strength = _check_finite("tau", tau)
    with np.errstate(over="ignore"):
        offsets: FloatArray = strength * (np.log(counts) - np.log(counts.sum()))
    if not np.isfinite(offsets).all():
        raise ValueError(f"tau = {strength} takes the offsets out of range for these counts")
    return offsets


def _temperatures(counts: FloatArray, gamma: float) -> FloatArray:
    exponent = _check_finite("gamma", gamma)
    with np.errstate(over="ignore", under="ignore"):
        scales: FloatArray = (counts / counts.max()) ** exponent
    if not (np.isfinite(scales) & (scales >= sys.float_info.min)).all():
        raise ValueError(f"gamma = {exponent} takes the scales out of range for these counts")
    return scales


def _as_weighted_mean(counts: FloatArray, weights: FloatArray, cause: str) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        weights = weights / weights.max()
        weights = weights * (counts.sum() / (weights @ counts))
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(f"{cause} takes the class weights out of range for these counts")
    return weights


def _check_finite(name: str, value: Any) -> float:
    number = check_real(name, value)
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _check_between(name: str, value: Any, low: float, high: float) -> float:
    number = check_real(name, value)
    if not low <= number < high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}), got {number}")
    return number
