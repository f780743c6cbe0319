"""Known answers: objectives, own-class entries, biases, and KKT residuals recomputed in numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

import ufm
from oracles import numpy_oracle
from oracles.reference_solver import solve_reference
from problems import METHODS, Problem, assert_certified, two_clusters

ROOT_HALF = math.sqrt(0.5) * 1e-4


@dataclass(frozen=True)
class Known:
    """A problem with its objective and the own-class entry and bias of each cluster."""

    problem: Problem
    objective: float
    own: tuple[float, ...]
    bias: tuple[float, ...]
    first: tuple[int, ...]  # a class of each cluster


def _pair(lambda_z, objective, own_a, own_b, bias_a):
    problem = two_clusters((5, 5), (500, 100), lambda_z)
    return Known(problem, objective, (own_a, own_b), (bias_a, -bias_a), (0, 5))


def _triple(sizes, counts, objective, own, bias):
    classes = tuple(c for size, c in zip(sizes, counts, strict=True) for _ in range(size))
    first = (0, sizes[0], sizes[0] + sizes[1])
    return Known(Problem(classes, ROOT_HALF, 0.02), objective, own, bias, first)


KNOWN = [
    _pair(0.0027, 1.4476487715, 2.2950, 1.4243, 0.3898),
    _pair(0.0033, 1.6204672721, 1.9964, 0.3297, 0.4186),
    _pair(0.0039, 1.7487329035, 1.6996, 0.0314, 0.4603),
    _pair(0.0051, 1.9412208896, 1.1777, 0.0, 0.5403),
    _pair(0.0075, 2.1086694991, 0.0, 0.0, 0.6106),
    _triple(
        (4, 3, 3),
        (5000, 4000, 3000),
        0.2584364384,
        (4.8797, 4.8110, 4.7169),
        (0.0310, -0.0018, -0.0396),
    ),
    _triple(
        (4, 2, 4),
        (5000, 3000, 1000),
        0.2158751594,
        (5.1117, 4.9534, 4.5598),
        (0.0857, 0.0152, -0.0933),
    ),
]
IDS = [f"{known.objective:.4f}" for known in KNOWN]


@pytest.mark.parametrize("known", KNOWN, ids=IDS)
@pytest.mark.parametrize("method", METHODS)
def test_known_numbers(known, method):
    solution = known.problem.solve(tol=1e-10, method=method)
    assert_certified(known.problem, solution, 1e-10)
    assert solution.objective == pytest.approx(known.objective, rel=2e-9)
    classes = list(known.first)
    # The stated values have four decimals.
    assert np.diag(solution.Z)[classes] == pytest.approx(known.own, abs=5.1e-5)
    assert solution.b[classes] == pytest.approx(known.bias, abs=5.1e-5)


@pytest.mark.parametrize("known", KNOWN, ids=IDS)
@pytest.mark.parametrize("method", METHODS)
def test_default_tolerance_bounds_the_error(known, method):
    solution = known.problem.solve(method=method)
    assert_certified(known.problem, solution)
    best = known.objective
    assert solution.dual_objective <= best * (1 + 1e-9)
    assert best * (1 - 1e-9) <= solution.objective <= best * (1 + 1.01e-6)


@pytest.mark.parametrize("known", KNOWN, ids=IDS)
@pytest.mark.parametrize("method", METHODS)
def test_kkt_residuals(known, method):
    problem = known.problem
    solution = problem.solve(tol=1e-9, method=method)
    residuals = numpy_oracle.kkt_residuals(solution.Z, solution.b, *problem.arguments())
    assert residuals.dual_infeasibility < 1e-6
    assert abs(residuals.complementarity) < 1e-6
    assert residuals.bias < 1e-6


@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
@pytest.mark.parametrize("weights", [None, (1.0,) * 3 + (2.0,) * 3 + (0.5, 0.7, 0.7)])
@pytest.mark.parametrize("method", METHODS)
def test_matches_the_reference_solver(lambda_b, weights, method):
    counts = (400.0,) * 3 + (150.0,) * 3 + (60.0, 20.0, 20.0)
    problem = Problem(counts, 0.004, lambda_b, weights)
    reference = solve_reference(counts, 0.004, lambda_b, weights, tol=1e-12)
    solution = problem.solve(tol=1e-10, method=method)
    assert_certified(problem, solution, 1e-10)
    assert solution.objective == pytest.approx(reference.objective, rel=2e-10)
    assert np.abs(solution.Z - reference.Z).max() < 1e-4
    assert np.abs(solution.b - reference.b).max() < 1e-4


@pytest.mark.parametrize("K", [2, 3, 10, 50])
@pytest.mark.parametrize("fraction", [1e-8, 1e-3, 0.3, 0.99, 1.0, 3.0])
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
def test_equal_counts_have_a_closed_form(K, fraction, lambda_b):
    count = 30.0
    lambda_z = fraction / (K * math.sqrt(count))
    solution = ufm.solve([count] * K, lambda_z, lambda_b, tol=1e-9)
    assert solution.converged
    a = math.log(max(1.0, 1.0 / (lambda_z * math.sqrt(count)) - K + 1))
    assert solution.Z == pytest.approx(a * (np.eye(K) - 1 / K), abs=1e-3)
    assert np.abs(solution.b).max() < 1e-8
    closed = ufm.balanced_solution(K, count, lambda_z)
    assert closed.Z == pytest.approx(a * (np.eye(K) - 1 / K), abs=1e-13 * max(1.0, a))
    assert closed.objective == pytest.approx(solution.objective, rel=1e-9)
    assert not np.any(closed.b)
