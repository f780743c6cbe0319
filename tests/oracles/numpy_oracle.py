"""Objective, dual objective, duality gap and KKT residuals of the convex UFM in plain numpy.

Everything is computed from dense ``Z`` and ``b`` alone. The quantities of a nearly fitted problem
are tiny (one minus a probability of ``1 - 1e-12``), so they are formed without subtracting from 1.

The problem, with ``pi_k = class_weights[k] counts[k] / sum(counts)`` and ``D = diag(counts)``::

    min over Z, b of  sum_k pi_k CE(z_k + b, e_k) + lambda_z ||Z D^{1/2}||_* + lambda_b/2 ||b||^2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Predictions:
    """Column-wise softmax ``P`` of the logits, and what would be lost to rounding in it.

    Attributes
    ----------
    probability : (K, K) array
        Column k is the predicted distribution of class k.
    miss : (K,) array
        ``1 - P[k, k]``, summed from the other entries.
    loss : (K,) array
        Cross-entropy of class k, ``-log P[k, k]``.
    """

    probability: Array
    miss: Array
    loss: Array


@dataclass(frozen=True)
class Certificate:
    """Primal and dual objective of one point, and the relative gap between them."""

    primal: float
    dual: float
    scale: float

    @property
    def gap(self) -> float:
        return self.primal - self.dual

    @property
    def relative_gap(self) -> float:
        return self.gap / max(abs(self.primal), TINY)


@dataclass(frozen=True)
class KKTResiduals:
    """How far a point is from the optimality conditions (all dimensionless, 0 at the optimum).

    Attributes
    ----------
    dual_infeasibility : float
        ``max(0, ||G||_2 / lambda_z - 1)``.
    complementarity : float
        ``(lambda_z ||X||_* - <G, X>) / max(objective, tiny)``.
    bias : float
        Largest entry of ``|G sqrt(n) - lambda_b b|``; for lambda_b = inf the largest ``|b|``.
    """

    dual_infeasibility: float
    complementarity: float
    bias: float

    @property
    def largest(self) -> float:
        return max(self.dual_infeasibility, abs(self.complementarity), self.bias)


def loss_weights(counts: ArrayLike, class_weights: ArrayLike | None = None) -> Array:
    """Return ``pi``, the weight of each class in the loss, shape (K,)."""
    n = np.asarray(counts, dtype=np.float64)
    w = np.ones_like(n) if class_weights is None else np.asarray(class_weights, dtype=np.float64)
    return w * (n / n.sum())


def predictions(Z: Array, b: Array) -> Predictions:
    """Softmax of every column of ``Z + b 1^T``, relative to the class's own logit."""
    logits = Z + b[:, None]
    relative = logits - np.diag(logits)
    shift = relative.max(axis=0)  # >= 0, as the own entry is 0
    exponential = np.exp(relative - shift)
    own = np.exp(-shift)
    others = exponential.copy()
    np.fill_diagonal(others, 0.0)
    rest = others.sum(axis=0)
    total = own + rest
    loss = np.where(shift > 0, shift + np.log(total), np.log1p(rest))
    return Predictions(exponential / total, rest / total, loss)


def _identity_minus(p: Predictions) -> Array:
    residual = -p.probability
    np.fill_diagonal(residual, p.miss)
    return residual


def gradient_matrix(
    Z: Array, b: Array, counts: ArrayLike, class_weights: ArrayLike | None = None
) -> Array:
    """Return ``G = (I - P) diag(pi / sqrt(n))``, minus the loss gradient in ``X = Z D^{1/2}``."""
    n = np.asarray(counts, dtype=np.float64)
    pi = loss_weights(n, class_weights)
    return _identity_minus(predictions(Z, b)) * (pi / np.sqrt(n))


def nuclear_norm(Z: Array, counts: ArrayLike) -> float:
    """Return ``||Z D^{1/2}||_*``."""
    return float(singular_values(Z, counts).sum())


def singular_values(Z: Array, counts: ArrayLike) -> Array:
    """Return the singular values of ``Z D^{1/2}``, descending, shape (K,)."""
    root = np.sqrt(np.asarray(counts, dtype=np.float64))
    return np.linalg.svd(Z * root, compute_uv=False)


def objective(
    Z: Array,
    b: Array,
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
) -> float:
    """Return the primal objective at ``(Z, b)``; with lambda_b = inf, ``b`` must be zero."""
    pi = loss_weights(counts, class_weights)
    value = float(pi @ predictions(Z, b).loss) + lambda_z * nuclear_norm(Z, counts)
    if np.isinf(lambda_b):
        return value if not np.any(b) else float("inf")
    return value + 0.5 * lambda_b * float(b @ b)


def _shrunk_entropy(p: Predictions, scale: float) -> Array:
    """Entropy of the columns of ``I + scale (P - I)``, shape (K,)."""
    others = scale * p.probability
    np.fill_diagonal(others, 0.0)
    logs = np.log(np.where(others > 0, others, 1.0))
    miss = scale * p.miss
    own = np.where(miss < 0.5, 1.0 - miss, (1.0 - scale) + scale * np.diag(p.probability))
    safe = np.where(own > 0, own, 1.0)
    own_log = np.where(miss < 0.5, np.log1p(-np.minimum(miss, 0.5)), np.log(safe))
    return -(others * logs).sum(axis=0) - own * own_log


def bias_residual(
    Z: Array, b: Array, counts: ArrayLike, class_weights: ArrayLike | None = None
) -> Array:
    """Return ``sum_k pi_k (e_k - p_k)``, shape (K,): equals ``lambda_b b`` at the optimum."""
    pi = loss_weights(counts, class_weights)
    return _identity_minus(predictions(Z, b)) @ pi


def certificate(
    Z: Array,
    b: Array,
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
) -> Certificate:
    """Duality gap of ``(Z, b)`` from the scaled dual point ``I + s (P - I)``.

    For lambda_b = 0 the dual also demands that `bias_residual` vanish; check that separately.
    """
    p = predictions(Z, b)
    n = np.asarray(counts, dtype=np.float64)
    pi = loss_weights(n, class_weights)
    residual = _identity_minus(p)
    norm = float(np.linalg.norm(residual * (pi / np.sqrt(n)), 2))
    scale = 1.0 if norm <= lambda_z else lambda_z / norm
    dual = float(pi @ _shrunk_entropy(p, scale))
    if 0 < lambda_b < np.inf:
        drift = scale * (residual @ pi)
        dual -= float(drift @ drift) / (2.0 * lambda_b)
    primal = objective(Z, b, counts, lambda_z, lambda_b, class_weights)
    return Certificate(primal, dual, scale)


def kkt_residuals(
    Z: Array,
    b: Array,
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
) -> KKTResiduals:
    """Residuals of the three optimality conditions (Hong and Ling, KKT of the convex UFM)."""
    n = np.asarray(counts, dtype=np.float64)
    G = gradient_matrix(Z, b, n, class_weights)
    X = Z * np.sqrt(n)
    infeasibility = max(0.0, float(np.linalg.norm(G, 2)) / lambda_z - 1.0)
    primal = objective(Z, b, n, lambda_z, lambda_b, class_weights)
    slack = lambda_z * nuclear_norm(Z, n) - float(np.sum(G * X))
    if np.isinf(lambda_b):
        bias = float(np.abs(b).max())
    else:
        bias = float(np.abs(bias_residual(Z, b, n, class_weights) - lambda_b * b).max())
    return KKTResiduals(infeasibility, slack / max(abs(primal), TINY), bias)


def bias_without_features(
    counts: ArrayLike, lambda_b: float, class_weights: ArrayLike | None = None
) -> Array:
    """Return the optimal bias of ``Z = 0``: ``S softmax(b) - pi + lambda_b b = 0``, S = sum pi."""
    pi = loss_weights(counts, class_weights)
    if np.isinf(lambda_b):
        return np.zeros_like(pi)
    start = np.log(pi)
    start -= start.mean()
    if lambda_b == 0:
        return start
    return _newton_bias(pi, lambda_b, start)


def _newton_bias(pi: Array, lambda_b: float, b: Array) -> Array:
    total = pi.sum()

    def value(point: Array) -> float:
        top = point.max()
        lse = top + np.log(np.exp(point - top).sum())
        return float(total * lse - pi @ point + 0.5 * lambda_b * (point @ point))

    for _ in range(200):
        p = np.exp(b - b.max())
        p /= p.sum()
        gradient = total * p - pi + lambda_b * b
        if np.abs(gradient).max() <= 1e-16 * total:
            break
        diagonal = total * p + lambda_b
        # Hessian diag(diagonal) - total p p^T: Sherman-Morrison.
        a, c = gradient / diagonal, p / diagonal
        step = a + c * (total * (p @ a) / (1.0 - total * (p @ c)))
        length, here = 1.0, value(b)
        while value(b - length * step) > here + 1e-15 * abs(here) and length > 1e-10:
            length *= 0.5
        b = b - length * step
    return b - b.mean()


def lambda_max(counts: ArrayLike, lambda_b: float, class_weights: ArrayLike | None = None) -> float:
    """Smallest ``lambda_z`` at which ``Z = 0`` is optimal (dense; theory, fact 6)."""
    n = np.asarray(counts, dtype=np.float64)
    b = bias_without_features(n, lambda_b, class_weights)
    zero = np.zeros((n.size, n.size))
    return float(np.linalg.norm(gradient_matrix(zero, b, n, class_weights), 2))


def collapse_threshold(count: float, total: float, class_weight: float = 1.0) -> float:
    """``lambda_z`` at or above which a cluster of several classes shares one mean prediction."""
    return class_weight * float(np.sqrt(count)) / total
