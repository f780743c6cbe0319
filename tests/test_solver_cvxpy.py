"""Agreement with CVXPY and Clarabel on small problems with mostly distinct counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from oracles.cvxpy_oracle import solve_conic
from problems import METHODS, Problem, assert_certified, problems


def assert_same_as_conic(problem: Problem, **options) -> None:
    solution = problem.solve(tol=1e-9, **options)
    assert_certified(problem, solution, 1e-9)
    conic = solve_conic(*problem.arguments())
    if conic.status != "optimal":  # Clarabel's own trouble, seldom
        return
    # No point can lie below the certified lower bound; Clarabel's own error is some 1e-8.
    assert conic.objective >= solution.dual_objective * (1 - 1e-9)
    assert conic.objective == pytest.approx(solution.objective, rel=2e-7, abs=1e-9)


@given(problem=problems(max_classes=6, max_count=5000, smallest=3e-3, relative=True))
def test_random_problems(problem):
    assert_same_as_conic(problem)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
@pytest.mark.parametrize("weights", [None, (2.0, 0.5, 1.0, 4.0, 0.1)])
def test_distinct_counts(method, lambda_b, weights):
    problem = Problem((120.0, 61.0, 33.0, 8.0, 3.0), 0.008, lambda_b, weights)
    assert_same_as_conic(problem, method=method)


@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
def test_solution_not_only_objective(lambda_b):
    counts = (90.0, 30.0, 29.0, 5.0)
    solution = Problem(counts, 0.01, lambda_b).solve(tol=1e-10)
    conic = solve_conic(counts, 0.01, lambda_b)
    assert np.abs(solution.Z - conic.Z).max() < 1e-3
    assert np.abs(solution.b - conic.b).max() < 1e-3
