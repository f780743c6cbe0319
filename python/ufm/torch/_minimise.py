"""The factored method from its start to an iterate, through the precisions it is to use."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ufm._core import small_problem
from ufm.solution import Status
from ufm.torch._bias import minimise_bias
from ufm.torch._device import free_bytes
from ufm.torch._factored import FactoredModel, Factors, balanced_start
from ufm.torch._loss import BlockLoss
from ufm.torch._monitor import Monitor, StopRequest
from ufm.torch._newton import End, trust_region
from ufm.torch._spectral import lanczos, operator_norm

_ATTEMPTS = 5
# Precision of the point and of the Newton equations, one stage after the other until one reaches
# the tolerance.
_Stage = tuple[torch.dtype, torch.dtype]
_STAGES: dict[torch.dtype, list[_Stage]] = {
    torch.float64: [(torch.float64, torch.float64)],
    torch.float32: [
        (torch.float32, torch.float32),
        (torch.float64, torch.float32),
        (torch.float64, torch.float64),
    ],
}


@dataclass(eq=False)
class Iterate:
    """Where a method ended.

    Attributes
    ----------
    matrix : Tensor of shape (C, C)
        M transposed, float64.
    bias : Tensor of shape (C,)
        Scaled bias, float64.
    nuclear_norm : float
        Upper bound of ||M||_*.
    iterations : int
        Newton steps accepted.
    reason : Status
        Why it stopped, if it did not converge.
    """

    matrix: torch.Tensor
    bias: torch.Tensor
    nuclear_norm: float
    iterations: int
    reason: Status


def bytes_needed(size: int, stage: _Stage) -> float:
    """Memory of one stage at its peak for C clusters and full rank.

    In precision of the point: point and gradient (4 matrices), slope and trial (2). In that of the
    Newton equations: four vectors of the conjugate gradients (8), preconditioner (2) and, where
    the precisions differ, copies of point and slope and a workspace (4). A tenth is for the rest.
    """
    outer, inner = stage
    copies = 0 if outer is inner else 4
    entry = 6 * outer.itemsize + (10 + copies) * inner.itemsize
    return float(1.1 * entry * size**2)


def first_stage(dtype: torch.dtype) -> _Stage:
    """The stage every solve needs room for."""
    return _STAGES[dtype][0]


def bias_only(loss: BlockLoss, monitor: Monitor) -> tuple[torch.Tensor, bool]:
    """Best scaled bias (C,) at Z = 0, and whether Z = 0 is optimal (theory: Hong and Ling)."""
    # With an enormous lambda_z every amplitude is eliminated to zero.
    lambda_z = loss.problem.lambda_z
    frozen = BlockLoss(replace(loss.problem, lambda_z=1e300), loss.device)
    bias, state = minimise_bias(frozen, None, loss.zeros(), monitor)
    if loss.problem.size == 1:  # M is a multiple of the all-ones direction, hence zero
        return bias, True
    if lambda_z < float(frozen.amplitude_gradient(state).max().item()):
        return bias, False
    # The estimate is a lower bound: below it nothing needs to be proved.
    if lambda_z < lanczos(state.slope, monitor)[0].estimate:
        return bias, False
    return bias, lambda_z >= operator_norm(state.slope, monitor).upper


def zero_iterate(loss: BlockLoss, bias: torch.Tensor, reason: Status) -> Iterate:
    """The point Z = 0."""
    return Iterate(loss.matrix().zero_(), bias, 0.0, 0, reason)


def minimise(
    loss: BlockLoss, dtype: torch.dtype, tol: float, max_iterations: int, monitor: Monitor
) -> Iterate:
    """Run the factored method until the gap is at most `tol` or something ends it.

    Raises
    ------
    StopRequest
        If a stop was asked for before there was a point to return.
    """
    x = balanced_start(loss, monitor)
    reason = Status.NUMERICAL_ERROR
    model: FactoredModel | None = None
    iterations = 0
    try:
        stages = _STAGES[dtype] if loss.fits_float32() else _STAGES[torch.float64]
        for number, stage in enumerate(stages):
            if number > 0 and bytes_needed(loss.problem.size, stage) > _room(loss, model):
                break  # the certified float32 result has to do
            outer, inner = stage
            model = FactoredModel(
                loss, outer, inner, tol=tol, monitor=monitor, iterations=iterations
            )
            x, reason = _run(model, x, outer, tol, max_iterations - iterations, monitor)
            iterations = model.iterations
            # Small problems go on to the limits of double precision, as they do in float64.
            unrefined = outer is torch.float32 and loss.problem.size <= small_problem
            done = model.gap <= tol and not unrefined
            if done or reason is Status.MAX_ITERATIONS:
                break
    except StopRequest as stop:
        assert model is not None
        reason = stop.status
        iterations = model.iterations
        if model.current is not None:
            x = model.current.flat
        elif iterations == 0:
            raise
    del model
    point = Factors(loss, x)
    bias = point.bias.to(torch.float64)
    return Iterate(point.matrix(), bias, point.nuclear_norm(), iterations, reason)


def _run(
    model: FactoredModel,
    x: torch.Tensor,
    outer: torch.dtype,
    tol: float,
    max_iterations: int,
    monitor: Monitor,
) -> tuple[torch.Tensor, Status]:
    """One stage: Newton's method, and again after an escape where it ended at a saddle point."""
    for _ in range(_ATTEMPTS):
        if max_iterations <= 0:
            return x, Status.MAX_ITERATIONS
        result = trust_region(model, model.centre(x.to(outer)), max_iterations, monitor)
        max_iterations -= result.iterations
        if result.end is End.NOT_FINITE:
            return x, Status.NUMERICAL_ERROR
        x = result.x
        if result.end is not End.FINISHED:
            model.certify_current()
        if model.gap <= tol or outer is torch.float32:
            break
        if result.end is End.ITERATION_LIMIT:
            return x, Status.MAX_ITERATIONS
        x = model.escape()
    limited = result.end is End.ITERATION_LIMIT
    return x, Status.MAX_ITERATIONS if limited else Status.NUMERICAL_ERROR


def _room(loss: BlockLoss, model: FactoredModel | None) -> float:
    """Bytes that are free once a model is gone."""
    held = 0.0 if model is None else model.held_bytes()
    return free_bytes(loss.device) + held
