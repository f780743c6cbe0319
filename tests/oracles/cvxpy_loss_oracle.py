"""The loss zoo and the layer-peeled model written down for CVXPY, solved by Clarabel (small K)."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np

from oracles.cvxpy_oracle import ConicSolution
from oracles.loss_oracle import LossProblem


def solve_conic_loss(problem: LossProblem, radius: float | None = None) -> ConicSolution:
    """Solve with the penalty lambda_z, or with ``||Z D^{1/2}||_* <= radius`` in its place.

    The objective is recomputed in numpy at the point found; with a radius it is the loss with the
    bias penalty, at a point that may leave the ball by Clarabel's tolerance.
    """
    K, D = problem.K, problem.metric
    root = np.sqrt(D / D.mean())
    X = cp.Variable((K, K))
    Z = X @ np.diag(1.0 / root)
    norm = np.sqrt(D.mean()) * cp.normNuc(X)
    no_bias = np.isinf(problem.lambda_b)
    b = cp.Constant(np.zeros(K)) if no_bias else cp.Variable(K)
    constraints = [] if no_bias else [(1.0 / problem.scales) @ b == 0]
    loss = 0
    for k in range(K):
        logits = cp.multiply(problem.scales, Z[:, k] + b) + problem.offsets
        loss += problem.pi[k] * (cp.log_sum_exp(logits) - problem.targets[:, k] @ logits)
    if not no_bias:
        loss += 0.5 * problem.lambda_b * cp.sum_squares(b)
    if radius is None:
        loss += problem.lambda_z * norm
    else:
        constraints.append(norm <= radius)
    program = cp.Problem(cp.Minimize(loss), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": see the status
        program.solve(
            solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10, max_iter=300
        )
    Z_value, b_value = np.asarray(X.value) / root, np.asarray(b.value)
    value = problem.objective(Z_value, b_value)
    if radius is not None:
        value -= problem.lambda_z * problem.nuclear_norm(Z_value)
    return ConicSolution(Z_value, b_value, value, program.status)
