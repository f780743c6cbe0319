"""A small, slow and independent solver: accelerated proximal gradient on dense ``(X, b)``.

It exists to produce reference numbers for ten or so classes; it uses no grouping of classes, no
elimination of unknowns and no code of the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from oracles import numpy_oracle
from oracles.numpy_oracle import Array


@dataclass(frozen=True)
class Reference:
    """Solution of the reference solver: ``Z`` (K, K), ``b`` (K,), objective and relative gap."""

    Z: Array
    b: Array
    objective: float
    relative_gap: float


def _threshold(X: Array, tau: float) -> Array:
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    return (U * np.maximum(s - tau, 0.0)) @ Vt


def solve_reference(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
    *,
    tol: float = 1e-11,
    max_iterations: int = 100_000,
) -> Reference:
    """Minimise the convex UFM to relative duality gap ``tol`` (or stop at ``max_iterations``).

    The steps are ``1/L`` in ``X`` and ``1/(2 S)`` in ``b`` with ``L = max(pi / n)`` and
    ``S = sum(pi)``: the Hessian of the softmax loss is at most 1/2 of the identity and
    ``|z + b|^2 <= 2 |z|^2 + 2 |b|^2`` makes the two blocks separable.
    """
    n = np.asarray(counts, dtype=np.float64)
    root = np.sqrt(n)
    pi = numpy_oracle.loss_weights(n, class_weights)
    step_x = 1.0 / float((pi / n).max())
    step_b = 0.0 if np.isinf(lambda_b) else 1.0 / float(pi.sum())
    X = np.zeros((n.size, n.size))
    b = np.zeros(n.size)
    Y, c, momentum = X, b, 1.0
    for iteration in range(max_iterations):
        G = numpy_oracle.gradient_matrix(Y / root, c, n, class_weights)
        X_new = _threshold(Y + step_x * G, step_x * lambda_z)
        b_new = b if step_b == 0 else (c + step_b * (G @ root)) / (1.0 + step_b * lambda_b)
        turned = np.sum((Y - X_new) * (X_new - X)) + (c - b_new) @ (b_new - b) > 0
        following = 1.0 if turned else 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        weight = 0.0 if turned else (momentum - 1.0) / following
        Y, c = X_new + weight * (X_new - X), b_new + weight * (b_new - b)
        X, b, momentum = X_new, b_new, following
        if iteration % 50 == 49:
            state = numpy_oracle.certificate(X / root, b, n, lambda_z, lambda_b, class_weights)
            drift = numpy_oracle.bias_residual(X / root, b, n, class_weights)
            balanced = lambda_b != 0 or np.abs(drift).max() <= tol
            if balanced and state.relative_gap <= tol:
                break
    state = numpy_oracle.certificate(X / root, b, n, lambda_z, lambda_b, class_weights)
    return Reference(X / root, b, state.primal, state.relative_gap)
