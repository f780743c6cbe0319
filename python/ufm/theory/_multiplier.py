"""The multiplier of a norm constraint: one penalised problem after another, certified together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ufm._loss import Loss
from ufm.problem import FloatArray
from ufm.solution import Solution, Status
from ufm.solver import solve
from ufm.theory._block_loss import loss_at_scaled, nuclear_norm, target_entropy

# Below this the solves of the penalised problem gain nothing.
_FINEST_TOL = 1e-13
# Squares of gradients below this underflow.
_SMALLEST_LAMBDA = 1e-120


@dataclass(frozen=True)
class PenalisedProblem:
    """All of a problem but its lambda_z."""

    counts: FloatArray
    lambda_b: float
    loss: Loss
    lambda_max: float
    options: dict[str, Any]

    def solve(self, lambda_z: float, tol: float, seconds: float) -> Solution:
        """The penalised solution at one lambda_z."""
        return solve(
            self.counts,
            lambda_z,
            self.lambda_b,
            loss=self.loss,
            tol=tol,
            time_limit=None if math.isinf(seconds) else max(seconds, 1e-3),
            **self.options,
        )

    def guess(self, radius: float) -> float:
        """lambda_z at which a balanced problem of the same size would have this nuclear norm."""
        size = self.counts.size
        root = math.sqrt(float(self.counts.mean()))
        spread = radius / (max(size - 1, 1) * root)
        # theta = K / (e^a + K - 1), without overflow
        theta = size * math.exp(-spread) / (1.0 + (size - 1) * math.exp(-spread))
        return theta * self.lambda_max


@dataclass(frozen=True)
class Found:
    """The best feasible point, (factor * Z, b) of `solution`, and the best lower bound."""

    solution: Solution
    factor: float
    primal: float
    bound: float
    relative_gap: float
    reason: Status
    solves: int


class _SearchOver(Exception):
    """Nothing more to be done, for the reason given."""

    def __init__(self, reason: Status) -> None:
        super().__init__(reason)
        self.reason = reason


class _Search:
    def __init__(
        self,
        problem: PenalisedProblem,
        radius: float,
        tol: float,
        max_solves: int,
        deadline: float,
        progress: Callable[[int, float, float], Any] | None,
    ) -> None:
        self.problem = problem
        self.radius = radius
        self.tol = tol
        self.max_solves = max_solves
        self.deadline = deadline
        self.progress = progress
        self.share = 0.02  # of the tolerance, for a penalised solve
        self.known: dict[float, float] = {}  # excess by log lambda_z
        self.solves = 0
        self.best: tuple[float, float, Solution] | None = None  # primal, factor, solution
        self.bound = -math.inf

    @property
    def relative_gap(self) -> float:
        if self.best is None:
            return math.inf
        primal = self.best[0]
        return max(primal - self.bound, 0.0) / primal if primal > 0.0 else 0.0

    def excess(self, log_lambda: float) -> float:
        """Nuclear norm over radius, minus 1: falls as lambda_z grows."""
        if log_lambda not in self.known:
            self.known[log_lambda] = self._solve(math.exp(log_lambda))
        return self.known[log_lambda]

    def tighten(self) -> None:
        """Solve more accurately from here on."""
        self.share *= 0.1
        self.known.clear()

    def _solve(self, lambda_z: float) -> float:
        remaining = self.deadline - time.perf_counter()
        if self.best is not None and remaining <= 0.0:
            raise _SearchOver(Status.TIME_LIMIT)
        tol = max(self.share * self.tol, _FINEST_TOL)
        solution = self.problem.solve(lambda_z, tol, remaining)
        self.solves += 1
        norm = nuclear_norm(solution)
        self._certify(solution, lambda_z, norm)
        if self.relative_gap <= self.tol:
            raise _SearchOver(Status.CONVERGED)
        assert self.best is not None
        if self.progress and self.progress(self.solves, self.best[0], self.relative_gap):
            raise _SearchOver(Status.INTERRUPTED)
        if self.solves >= self.max_solves:
            raise _SearchOver(Status.MAX_ITERATIONS)
        return norm / self.radius - 1.0

    def smallest_lambda(self) -> float:
        """Where smoothed labels leave the constraint idle, so small a multiplier certifies it."""
        least = 0.01 * self.tol * target_entropy(self.problem.loss, self.problem.counts)
        return max(least / self.radius, _SMALLEST_LAMBDA)

    def _certify(self, solution: Solution, lambda_z: float, norm: float) -> None:
        if norm == 0.0:
            candidates = [1.0]
        elif norm <= self.radius:
            candidates = [1.0, self.radius / norm]
        else:
            candidates = [self.radius / norm]
        for factor in candidates:
            primal = loss_at_scaled(solution, factor)
            if self.best is None or primal < self.best[0]:
                self.best = (primal, factor, solution)
                penalty = lambda_z * self.radius
                self.share = 0.2 * primal / (primal + penalty) if primal > 0.0 else 0.02
        self.bound = max(
            self.bound,
            solution.dual_objective - lambda_z * self.radius,
            target_entropy(solution.loss, solution.counts),
        )


def find_multiplier(
    problem: PenalisedProblem,
    radius: float,
    *,
    tol: float,
    max_solves: int,
    deadline: float,
    progress: Callable[[int, float, float], Any] | None,
) -> Found:
    """Search for the lambda_z at which the nuclear norm is the radius, until certified."""
    search = _Search(problem, radius, tol, max_solves, deadline, progress)
    reason = Status.NUMERICAL_ERROR
    try:
        _find_root(search)
    except _SearchOver as over:
        reason = over.reason
    assert search.best is not None  # the first solve comes before any reason to stop
    primal, factor, solution = search.best
    return Found(solution, factor, primal, search.bound, search.relative_gap, reason, search.solves)


def _find_root(search: _Search) -> None:
    from scipy.optimize import brentq

    top = search.problem.lambda_max
    if not top > _SMALLEST_LAMBDA:  # Z = 0 whatever lambda_z
        search.excess(0.0)
        return
    bottom = math.log(search.smallest_lambda())
    guess = math.log(min(search.problem.guess(search.radius), 0.99 * top) or _SMALLEST_LAMBDA)
    low = high = max(guess, min(bottom, math.log(0.99 * top)))
    for _ in range(4):  # a root to rounding may still lack a tighter penalised solve
        low, high = _bracket(search, low, high, bottom, math.log(top))
        if search.excess(low) > 0.0:
            brentq(search.excess, low, high, xtol=1e-15, rtol=1e-15)
        search.tighten()


def _bracket(
    search: _Search, low: float, high: float, bottom: float, top: float
) -> tuple[float, float]:
    """Widen [low, high] until the norm is above the radius at low and below it at high."""
    step = 0.1
    while search.excess(low) <= 0.0 and low > bottom:
        low, high = max(low - step, bottom), low
        step *= 4.0
    search.known[top] = -1.0  # Z = 0
    while search.excess(high) > 0.0:
        low, high = high, min(high + step, top)
        step *= 4.0
    return low, high
