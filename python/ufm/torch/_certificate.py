"""The duality gap, in float64. This is the only place that computes one.

The dual point is P_s = I + s (P - I) with P the softmax of the logits and
s = min(1, lambda_z / ||gradient||_2), which is always feasible (derived from the dual of Hong and
Ling's convex problem).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ufm.torch._bias import minimise_bias
from ufm.torch._device import dot
from ufm.torch._loss import BlockLoss, LossState
from ufm.torch._monitor import Monitor
from ufm.torch._problem import ClusterProblem
from ufm.torch._spectral import operator_norm


@dataclass(eq=False)
class Direction:
    """Singular vectors of the between-cluster gradient's largest singular value, each (C,)."""

    left: torch.Tensor
    right: torch.Tensor


@dataclass(eq=False)
class Certificate:
    """Primal and dual value at a point.

    Attributes
    ----------
    primal, dual, relative_gap : float
        Objective, feasible dual value, and (primal - dual) / |primal|.
    between : Direction
        Where the dual constraint is violated most, or nearly so.
    """

    primal: float
    dual: float
    relative_gap: float
    between: Direction


def relative_gap(primal: float, dual: float) -> float:
    """(primal - dual) / |primal|, never negative."""
    gap = (primal - dual) / max(abs(primal), 1e-300)
    return math.inf if math.isnan(gap) else max(gap, 0.0)


def primal_value(
    problem: ClusterProblem, state: LossState, bias: torch.Tensor, nuclear_norm: float
) -> float:
    """Objective at a point whose loss state is given; `bias` in float64."""
    value = state.value + problem.lambda_z * nuclear_norm
    if problem.has_bias:
        value += 0.5 * problem.lambda_b * dot(bias, bias)
    return value


def certify(
    loss: BlockLoss, state: LossState, bias: torch.Tensor, nuclear_norm: float, monitor: Monitor
) -> Certificate:
    """Certify the exact problem at a point.

    Parameters
    ----------
    loss : BlockLoss
        The loss.
    state : LossState
        At the point, with a float64 slope.
    bias : Tensor of shape (C,)
        Scaled bias of the point, float64.
    nuclear_norm : float
        Upper bound of ||M||_*.
    monitor : Monitor
        Asked whether to stop.

    Returns
    -------
    Certificate

    Notes
    -----
    With an unregularised bias the dual also demands that P - I balances to zero in every row; what
    rounding leaves of it is charged to the dual value.
    """
    problem = loss.problem
    between = operator_norm(state.slope, monitor)
    within = float(loss.amplitude_gradient(state).max().item()) * (1.0 + 1e-15)
    norm = math.nan if math.isnan(between.upper) else max(between.upper, within)
    s = 1.0 if norm <= problem.lambda_z else problem.lambda_z / norm
    primal = primal_value(problem, state, bias, nuclear_norm)
    dual = _dual_value(loss, state, s)
    # The slope is the gradient's transpose.
    direction = Direction(left=between.column, right=between.row)
    return Certificate(primal, dual, relative_gap(primal, dual), direction)


def certify_at_best_bias(
    loss: BlockLoss,
    matrix: torch.Tensor,
    bias: torch.Tensor,
    nuclear_norm: float,
    tol: float,
    monitor: Monitor,
) -> Certificate:
    """`certify` after minimising over the bias, where that matters for the tolerance.

    `matrix` is M transposed (C, C) in float64, and is overwritten.
    """
    problem = loss.problem
    if not problem.has_bias:
        return certify(loss, loss.evaluate(matrix, bias), bias, nuclear_norm, monitor)
    state = loss.evaluate(matrix.clone(), bias)
    residual = loss.bias_gradient(state) + problem.lambda_b * bias
    cost = dot(residual, residual)
    primal = primal_value(problem, state, bias, nuclear_norm)
    if not cost <= 0.01 * tol * primal * 2.0 * problem.lambda_b:
        del state
        bias, state = minimise_bias(loss, matrix, bias, monitor)
    del matrix
    return certify(loss, state, bias, nuclear_norm, monitor)


def _dual_value(loss: BlockLoss, state: LossState, s: float) -> float:
    problem = loss.problem
    dual = float((loss.multiplicity * loss.loss_weight @ _scaled_entropy(state, s)).item())
    if not problem.has_bias:
        return dual
    gradient = loss.bias_gradient(state)
    if problem.lambda_b > 0.0:
        return dual - s * s * dot(gradient, gradient) / (2.0 * problem.lambda_b)
    # Restoring the balance exactly moves at most this much probability, each unit of which
    # changes the entropy by less than the largest |log p| of a double.
    imbalance = float((gradient.abs() @ loss.multiplicity.sqrt()).item())
    return dual - 750.0 * s * imbalance


def _scaled_entropy(state: LossState, s: float) -> torch.Tensor:
    """Entropy of the columns of P_s, shape (C,), from quantities accurate when small."""
    wrong = state.rest + state.own_other
    if not s > 0.0:
        return torch.zeros_like(wrong)
    own = (1.0 - s) + s * state.p_own
    log_own = torch.where(wrong < 0.5, torch.log1p(-s * wrong), own.log())
    own_term = torch.where(own > 0.0, -own * log_own, 0.0)
    others = s * (state.mean_log - wrong * state.log_own)
    entropy = own_term - s * math.log(s) * wrong - others
    return torch.where(wrong > 0.0, entropy, 0.0)
