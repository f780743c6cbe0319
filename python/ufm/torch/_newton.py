"""Trust-region Newton minimisation with preconditioned conjugate gradients (Steihaug-Toint).

Works on functions that are not convex too. The function, its gradient and the point may be held
in a higher precision than the conjugate gradients work in.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Protocol

import torch

from ufm.torch._device import dot
from ufm.torch._monitor import Monitor

_MAX_INNER = 500


class SmoothModel(Protocol):
    """A smooth function of one flat vector, with a state at the last trial and current point.

    ``inner`` is the precision of Hessian products and preconditioner, ``noise`` the relative
    difference of values below which they carry no information.
    """

    inner: torch.dtype
    noise: float
    max_rejected: int

    def trial_value(self, x: torch.Tensor) -> float:
        """Value at a trial point; the point's state is kept until the next trial."""

    def accept_trial(self) -> None:
        """Make the last trial the current point."""

    def gradient(self) -> torch.Tensor:
        """Gradient at the current point."""

    def hessian_product(self, direction: torch.Tensor, product: torch.Tensor) -> None:
        """Write the Hessian's product with a direction."""

    def prepare_preconditioner(self) -> None:
        """Prepare a positive definite approximation P of the Hessian at the current point."""

    def precondition(self, residual: torch.Tensor, result: torch.Tensor) -> None:
        """Write P^-1 residual."""

    def squared_norm(self, x: torch.Tensor) -> float:
        """x^T P x."""

    def finished(self, value: float, predicted_decrease: float) -> bool:
        """Whether to end, asked after each accepted step."""


class End(enum.Enum):
    """Why a minimisation ended."""

    FINISHED = enum.auto()
    STATIONARY = enum.auto()
    ITERATION_LIMIT = enum.auto()
    STALLED = enum.auto()
    NOT_FINITE = enum.auto()


@dataclass(eq=False)
class Result:
    """Last accepted point, and how the minimisation got there."""

    x: torch.Tensor
    end: End
    iterations: int


@dataclass(eq=False)
class _Step:
    direction: torch.Tensor  # to be multiplied by scale
    scale: float
    predicted_decrease: float
    norm: float  # in the preconditioner's norm
    on_boundary: bool


def _to_boundary(ss: float, sp: float, pp: float, radius: float) -> float:
    """Positive tau with ||s + tau p|| = radius, from squared norms and inner product."""
    missing = max(radius * radius - ss, 0.0)
    root = math.sqrt(max(sp * sp + pp * missing, 0.0))
    if sp > 0.0:
        return missing / (sp + root)
    return (root - sp) / pp if pp != 0.0 else math.nan


class _Subproblem:
    """The quadratic model at one point, minimised within one radius after the other."""

    def __init__(self, model: SmoothModel, gradient: torch.Tensor) -> None:
        self._model = model
        self._gradient = gradient
        # The largest entry becomes 1: float32 has little room for products of small numbers.
        largest = float(torch.linalg.vector_norm(gradient, ord=math.inf).item())
        self._scale = largest if largest > 0.0 and math.isfinite(largest) else 1.0

    def solve(self, radius: float, first_norm: float | None, monitor: Monitor) -> _Step | None:
        """Steihaug's conjugate gradients; None at a stationary point.

        `first_norm` is the gradient's norm at the first point of the minimisation.
        """
        model = self._model
        radius /= self._scale
        r = (self._gradient / self._scale).to(model.inner)
        p = torch.empty_like(r)
        model.precondition(r, p)
        ry = dot(r, p)
        self.norm = self._scale * math.sqrt(max(ry, 0.0))
        if not self.norm > 0.0:
            return None
        p.neg_()
        s = torch.zeros_like(r)
        work = torch.empty_like(r)  # the Hessian's product, then the preconditioned residual
        ratio = self.norm / (self.norm if first_norm is None else first_norm)
        target = ry * min(0.1, math.sqrt(ratio)) ** 2
        decrease = ss = sp = 0.0
        pp = ry
        on_boundary = False
        for k in range(_MAX_INNER):
            if not (ry > target and ry > 0.0):
                break
            monitor.check()
            model.hessian_product(p, work)
            curvature = dot(p, work)
            if not curvature > 0.0 and k > 0:
                # The step so far is good. What is left are directions of slightly negative
                # curvature, such as the symmetries of a factored form away from its minimum;
                # following one to the boundary would ruin the step.
                break
            alpha = ry / curvature if curvature > 0.0 else math.nan
            reached = ss + 2.0 * alpha * sp + alpha * alpha * pp
            if not reached < radius * radius:  # also true for NaN
                tau = _to_boundary(ss, sp, pp, radius)
                s.add_(p, alpha=tau)
                decrease += tau * ry - 0.5 * tau * tau * curvature
                ss = radius * radius
                on_boundary = True
                break
            s.add_(p, alpha=alpha)
            r.add_(work, alpha=alpha)
            decrease += 0.5 * alpha * ry
            model.precondition(r, work)
            ry_next = dot(r, work)
            beta = ry_next / ry
            ss = reached
            sp = beta * (sp + alpha * pp)
            pp = ry_next + beta * beta * pp
            p.mul_(beta).sub_(work)
            ry = ry_next
        return _Step(
            direction=s,
            scale=self._scale,
            predicted_decrease=decrease * self._scale**2,
            norm=math.sqrt(ss) * self._scale,
            on_boundary=on_boundary,
        )


def trust_region(
    model: SmoothModel, x: torch.Tensor, max_iterations: int, monitor: Monitor
) -> Result:
    """Minimise a model from x.

    A stop that the monitor requests leaves as an exception; the model then knows the last
    accepted point.
    """
    value = model.trial_value(x)
    model.accept_trial()
    if not math.isfinite(value):
        return Result(x, End.NOT_FINITE, 0)
    model.prepare_preconditioner()
    subproblem = _Subproblem(model, model.gradient())
    radius = max(1.0, math.sqrt(model.squared_norm(x.to(model.inner))))
    first_norm: float | None = None
    iterations = rejected = 0
    while iterations < max_iterations:
        step = subproblem.solve(radius, first_norm, monitor)
        if step is None:
            return Result(x, End.STATIONARY, iterations)
        first_norm = first_norm or subproblem.norm
        iterations += 1
        candidate = step.direction.to(x.dtype).mul_(step.scale).add_(x)
        predicted, norm, on_boundary = step.predicted_decrease, step.norm, step.on_boundary
        del step  # its memory
        trial = model.trial_value(candidate)
        ratio = _ratio(value, trial, predicted, model.noise)
        if not ratio > 0.25:
            radius = 0.25 * min(norm, radius)
        elif ratio > 0.75 and on_boundary:
            radius *= 3.0
        if not ratio > 1e-4:
            rejected += 1
            if rejected > model.max_rejected or not radius > 0.0:
                return Result(x, End.STALLED, iterations)
            continue
        rejected = 0
        x, value = candidate, trial
        del subproblem, candidate
        model.accept_trial()
        if model.finished(value, predicted):
            return Result(x, End.FINISHED, iterations)
        model.prepare_preconditioner()
        subproblem = _Subproblem(model, model.gradient())
    return Result(x, End.ITERATION_LIMIT, iterations)


def _ratio(value: float, trial: float, predicted: float, noise: float) -> float:
    """Actual over predicted decrease."""
    if not math.isfinite(trial):
        return -1.0
    actual = value - trial
    # Differences below rounding carry no information; the gradient still does.
    rounding = noise * abs(value)
    if predicted < rounding and abs(actual) < 10.0 * rounding:
        return 1.0
    return actual / predicted if predicted != 0.0 else -1.0
