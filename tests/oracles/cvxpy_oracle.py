"""The convex UFM written down for CVXPY and solved by Clarabel (small K only)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from oracles import numpy_oracle
from oracles.numpy_oracle import Array


@dataclass(frozen=True)
class ConicSolution:
    """``Z`` (K, K), ``b`` (K,), and the objective recomputed in numpy at that point."""

    Z: Array
    b: Array
    objective: float
    status: str


def solve_conic(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
) -> ConicSolution:
    """Solve with Clarabel; ``status`` is "optimal" where its tolerances (1e-10) were met.

    The variable is ``Z (D / mean n)^{1/2}``, so that counts of any size are well scaled.
    """
    n = np.asarray(counts, dtype=np.float64)
    K = n.size
    root = np.sqrt(n / n.mean())
    pi = numpy_oracle.loss_weights(n, class_weights)
    X = cp.Variable((K, K))
    Z = X @ np.diag(1.0 / root)
    penalty = lambda_z * np.sqrt(n.mean()) * cp.normNuc(X)
    constraints = []
    if np.isinf(lambda_b):
        logits = [Z[:, k] for k in range(K)]
    else:
        b = cp.Variable(K)
        logits = [Z[:, k] + b for k in range(K)]
        penalty = penalty + 0.5 * lambda_b * cp.sum_squares(b)
        constraints.append(cp.sum(b) == 0)
    loss = sum(pi[k] * (cp.log_sum_exp(logits[k]) - logits[k][k]) for k in range(K))
    problem = cp.Problem(cp.Minimize(loss + penalty), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": see the status
        problem.solve(
            solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10, max_iter=300
        )
    Z_value = np.asarray(X.value) / root
    b_value = np.zeros(K) if np.isinf(lambda_b) else np.asarray(b.value)
    value = numpy_oracle.objective(Z_value, b_value, n, lambda_z, lambda_b, class_weights)
    return ConicSolution(Z_value, b_value, value, problem.status)
