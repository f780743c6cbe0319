"""Problems of the loss zoo for the tests, and what their solutions must satisfy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import ufm
from oracles.loss_oracle import LossProblem
from oracles.numpy_oracle import Array


def loss_of(problem: LossProblem) -> ufm.Loss:
    """Return the problem's loss."""
    return ufm.Loss(
        smoothing=problem.smoothing,
        offsets=problem.offsets,
        scales=problem.scales,
        class_weights=problem.class_weights,
    )


def problem_of(
    counts: Any, lambda_z: float, lambda_b: float, loss: ufm.Loss, **options: Any
) -> LossProblem:
    """Return the oracle's form of a problem."""
    return LossProblem(
        np.asarray(counts, float),
        lambda_z,
        lambda_b,
        loss.smoothing,
        loss.scales,
        loss.offsets,
        loss.class_weights,
        **options,
    )


def solve(problem: LossProblem, **options: Any) -> ufm.Solution:
    """Call `ufm.solve` on the problem."""
    return ufm.solve(
        problem.counts, problem.lambda_z, problem.lambda_b, loss=loss_of(problem), **options
    )


def assert_optimal(problem: LossProblem, solution: ufm.Solution, tol: float) -> None:
    """Hold a solution to its claims by the dense numpy oracle."""
    Z, b = solution.Z, solution.b
    assert solution.converged, (solution, solution.loss)
    assert np.isfinite(Z).all() and np.isfinite(b).all()
    primal = problem.objective(Z, b)
    assert math.isclose(solution.objective, primal, rel_tol=1e-8)
    assert solution.dual_objective <= solution.objective * (1 + 1e-12)
    assert solution.relative_gap <= tol
    # The gap is first order in the dual infeasibility: these are small, not tiny.
    _, complementarity, bias = problem.kkt(Z, b)
    assert abs(complementarity) <= 1e-2
    if problem.lambda_b > 0:
        # The oracle charges the bias by its plain formula, the core by the better of two.
        certificate = problem.certificate(Z, b)
        assert certificate.dual <= solution.objective * (1 + 1e-11)
        assert solution.relative_gap >= certificate.relative_gap - 1e-9
        assert certificate.relative_gap <= tol + 1e-9 / min(problem.lambda_b, 1.0)
    assert bias <= 1e-3 * math.sqrt(max(problem.lambda_b, 1.0)) or math.isinf(problem.lambda_b)


@st.composite
def loss_problems(
    draw: st.DrawFn, *, max_classes: int = 9, smallest: float = 1e-4, smoothings: Any = None
) -> LossProblem:
    """Draw a problem with few kinds of classes, lambda_z relative to lambda_max."""
    K = draw(st.integers(2, max_classes))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))

    def vector(values: Array) -> Array | None:
        return rng.choice(values, size=K) if draw(st.booleans()) else None

    counts = rng.choice([1.0, 3.0, 10.0, 50.0, 200.0, 1000.0][: draw(st.integers(1, 6))], size=K)
    scales = vector(rng.uniform(0.1, 3.0, 2))
    offsets = vector(4.0 * rng.standard_normal(2))
    weights = vector(np.array([0.3, 1.0, 4.0]))
    lambda_b = draw(st.sampled_from([math.inf, 1.0, 0.02, 1e-4]))
    smoothing = draw(st.sampled_from(smoothings or [0.0, 0.05, 0.3]))
    bare = LossProblem(counts, 1.0, lambda_b, smoothing, scales, offsets, weights)
    top = ufm.thresholds(counts, lambda_b, loss=loss_of(bare)).lambda_max
    fraction = 10 ** draw(st.floats(math.log10(smallest), 0.1))
    return LossProblem(
        counts, fraction * (top or 1.0), lambda_b, smoothing, scales, offsets, weights
    )
