"""From an iterate to the certified result that a solution is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ufm._core import small_problem
from ufm.problem import FloatArray
from ufm.solution import Status
from ufm.torch._bias import minimise_bias
from ufm.torch._certificate import Certificate, certify, primal_value, relative_gap
from ufm.torch._loss import BlockLoss, LossState
from ufm.torch._minimise import Iterate
from ufm.torch._monitor import Monitor

# The factors' penalty is the nuclear norm at the optimum and an upper bound of it elsewhere. Up to
# this many clusters the norm of an iterate that fell short is computed instead, within a second.
_LARGEST_SVD = 1024


@dataclass(eq=False)
class Result:
    """A certified solution in cluster form, on the host.

    Attributes
    ----------
    matrix : ndarray of shape (C, C)
        M, the mean prediction matrix times D^(1/2) in cluster coordinates.
    bias, amplitudes : ndarray of shape (C,)
        Scaled bias and within-cluster singular values.
    objective, dual_objective, relative_gap : float
        The certificate.
    status : Status
        How the solve ended.
    iterations : int
        Newton steps.
    """

    matrix: FloatArray
    bias: FloatArray
    amplitudes: FloatArray
    objective: float
    dual_objective: float
    relative_gap: float
    status: Status
    iterations: int


@dataclass(eq=False)
class _Point:
    matrix: torch.Tensor
    bias: torch.Tensor
    state: LossState
    certificate: Certificate

    @property
    def gap(self) -> float:
        return self.certificate.relative_gap


def finish(loss: BlockLoss, iterate: Iterate, tol: float) -> Result:
    """Certify an iterate, at its best bias where that is better, and bring it to the host."""
    best = _certified(loss, iterate.matrix, iterate.bias, iterate.nuclear_norm, tol)
    size = loss.problem.size
    exact = size <= small_problem or (best.gap > tol and size <= _LARGEST_SVD)
    if exact and bool(best.matrix.isfinite().all()):
        _use_exact_norm(loss, best)
        if size <= small_problem:
            best = _cleaned(loss, best, tol)
    certificate = best.certificate
    return Result(
        matrix=best.matrix.cpu().numpy().T,
        bias=best.bias.cpu().numpy(),
        amplitudes=loss.amplitudes(best.state).cpu().numpy(),
        objective=certificate.primal,
        dual_objective=certificate.dual,
        relative_gap=certificate.relative_gap,
        status=Status.CONVERGED if certificate.relative_gap <= tol else iterate.reason,
        iterations=iterate.iterations,
    )


def _certified(
    loss: BlockLoss, matrix: torch.Tensor, bias: torch.Tensor, nuclear_norm: float, tol: float
) -> _Point:
    """The certificate at a point, or at the best bias for its M if that is better.

    Both are needed: a bias a little off its optimum costs much when lambda_b is tiny, while moving
    it disturbs a dual point that was already good.
    """
    quiet = Monitor()  # a certificate is owed even after a stop request
    state = loss.evaluate(matrix.clone(), bias)
    given = _Point(matrix, bias, state, certify(loss, state, bias, nuclear_norm, quiet))
    small = loss.problem.size <= small_problem
    if not loss.problem.has_bias or (not small and given.gap <= tol):
        return given
    bias, state = minimise_bias(loss, matrix, bias, quiet)
    best = _Point(matrix, bias, state, certify(loss, state, bias, nuclear_norm, quiet))
    return best if best.gap <= given.gap else given


def _use_exact_norm(loss: BlockLoss, point: _Point) -> None:
    """Put the nuclear norm in place of its upper bound."""
    certificate = point.certificate
    norm = float(torch.linalg.svdvals(point.matrix).sum().item())
    certificate.primal = primal_value(loss.problem, point.state, point.bias, norm)
    certificate.relative_gap = relative_gap(certificate.primal, certificate.dual)


def _cleaned(loss: BlockLoss, point: _Point, tol: float) -> _Point:
    """Turn singular values that are only nearly zero into exact zeros, where that costs no gap."""
    # One proximal step: at the optimum it changes nothing, whatever its length.
    curvature = 0.5 * float((loss.loss_weight / loss.count).max().item())
    moved = point.matrix - point.state.slope / curvature
    left, values, right = torch.linalg.svd(moved)
    kept = (values - loss.problem.lambda_z / curvature).clamp(min=0.0)
    rank = int((kept > 0.0).sum().item())
    matrix = (left[:, :rank] * kept[:rank]) @ right[:rank]
    clean = _certified(loss, matrix, point.bias, float(kept.sum().item()), tol)
    return clean if clean.gap <= max(point.gap, 1e-3 * tol) else point
