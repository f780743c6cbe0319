"""All methods give the same certified answer, on random problems of every kind."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given

import ufm
from problems import METHODS, Problem, assert_certified, problems

# Proximal gradient slows down without bound as lambda_z falls; below this share of lambda_max a
# run may end at its time limit, and must then say so with a true (larger) gap.
EASY_FOR_PROXIMAL = 1e-2
TIME_LIMIT = 4.0


def solve_all(problem: Problem, tol: float) -> dict[str, ufm.Solution]:
    """Solve by every method, certify each, and return the solutions."""
    top = ufm.thresholds(problem.counts, problem.lambda_b, problem.class_weights).lambda_max
    solutions = {}
    for method in METHODS:
        hard = method == "proximal" and problem.lambda_z < EASY_FOR_PROXIMAL * top
        options = {"time_limit": TIME_LIMIT} if hard else {}
        solution = problem.solve(method=method, tol=tol, **options)
        assert_certified(problem, solution, tol, must_converge=not hard)
        solutions[method] = solution
    return solutions


def assert_agree(problem: Problem, tol: float = 1e-6) -> None:
    """Each pair of primal-dual intervals must overlap, and converged objectives must be close."""
    solutions = solve_all(problem, tol)
    for first, second in itertools.combinations(solutions.values(), 2):
        slack = 1e-12 * abs(first.objective)
        assert first.dual_objective <= second.objective + slack
        assert second.dual_objective <= first.objective + slack
        if first.converged and second.converged:
            assert first.objective == pytest.approx(second.objective, rel=1.01 * tol, abs=1e-300)


@given(problem=problems())
def test_methods_agree(problem):
    assert_agree(problem)


@given(problem=problems(max_distinct=4))
def test_methods_agree_on_few_clusters(problem):
    assert_agree(problem)


@given(problem=problems(max_classes=8, smallest=1e-3, relative=True))
def test_methods_agree_tightly_on_small_problems(problem):
    assert_agree(problem, tol=1e-9)


@pytest.mark.slow
@given(problem=problems(max_classes=300, max_count=10**7, max_distinct=200))
def test_methods_agree_on_larger_problems(problem):
    assert_agree(problem)


@pytest.mark.parametrize("lambda_b", [0.0, 1e-6, 0.02, 50.0, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_grouping_is_lossless(lambda_b, method):
    """Counts a hair apart are separate clusters, yet must give nearly the same answer."""
    counts = np.repeat([300.0, 40.0, 8.0], 4)
    apart = counts * (1 + 1e-9 * np.arange(12))
    grouped = ufm.solve(counts, 0.003, lambda_b, tol=1e-9, method=method)
    separate = ufm.solve(apart, 0.003, lambda_b, tol=1e-9, method=method)
    assert grouped.converged and separate.converged
    assert len(grouped.clusters) == 3 and len(separate.clusters) == 12
    assert separate.objective == pytest.approx(grouped.objective, rel=1e-8)
    assert np.abs(separate.Z - grouped.Z).max() < 1e-3


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_answer(threads):
    counts = np.arange(1.0, 41.0) ** 2
    solution = ufm.solve(counts, 1e-5, 0.01, threads=threads)
    free = ufm.solve(counts, 1e-5, 0.01)
    assert solution.converged and free.converged
    assert solution.objective == pytest.approx(free.objective, rel=1.01e-6)


@pytest.mark.parametrize("method", METHODS)
def test_same_call_same_bits(method):
    counts = np.concatenate([np.arange(1.0, 31.0) ** 2, [100.0] * 5])
    runs = [ufm.solve(counts, 2e-4, 0.01, method=method) for _ in range(2)]
    assert runs[0].iterations == runs[1].iterations
    assert runs[0].objective == runs[1].objective
    assert runs[0].relative_gap == runs[1].relative_gap
    assert runs[0].Z.tobytes() == runs[1].Z.tobytes()
    assert runs[0].b.tobytes() == runs[1].b.tobytes()
