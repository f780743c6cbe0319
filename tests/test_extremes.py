"""Extremes either converge or say so in the status; nothing raises, hangs or returns NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufm
from oracles import numpy_oracle
from problems import METHODS, Problem, assert_certified

TIME_LIMIT = 10.0


def solve_within(problem: Problem, **options) -> ufm.Solution:
    """Solve under a time limit; whatever the outcome, it must be honest."""
    solution = problem.solve(time_limit=TIME_LIMIT, **options)
    assert math.isfinite(solution.objective) and math.isfinite(solution.dual_objective)
    assert solution.relative_gap >= 0
    assert_certified(problem, solution, options.get("tol", 1e-6), must_converge=False)
    return solution


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lambda_b", [0.0, 0.01, math.inf])
@pytest.mark.parametrize("lambda_z", [1e-12, 0.1, 100.0])
def test_one_class(method, lambda_b, lambda_z):
    solution = ufm.solve([5], lambda_z, lambda_b, method=method)
    assert solution.converged
    assert solution.Z.tolist() == [[0.0]] and solution.b.tolist() == [0.0]
    assert solution.objective == 0.0 and solution.relative_gap == 0.0
    assert solution.rank == 0 and not solution.collapsed.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lambda_b", [0.0, 0.01, math.inf])
@pytest.mark.parametrize("counts", [(5.0, 5.0), (1000.0, 1.0), (1.0, 1e12)])
def test_two_classes(method, lambda_b, counts):
    top = numpy_oracle.lambda_max(counts, lambda_b)
    for factor in (1e-3, 0.1, 0.9, 1.1):
        problem = Problem(counts, factor * top, lambda_b)
        solution = solve_within(problem, method=method)
        if method != "proximal" or counts[1] < 1e6:
            assert solution.converged, solution.summary()
            assert bool(solution.Z.any()) == (factor < 1)


@pytest.mark.parametrize("lambda_b", [0.0, 1e-8, 0.01, 1e3, math.inf])
@pytest.mark.parametrize("factor", [1e-6, 0.1, 1.0, 30.0, 1e4])
def test_counts_from_one_to_a_trillion(lambda_b, factor):
    """The default method solves the whole range: lambda_z in units of the smallest threshold."""
    counts = (*(10.0**e for e in range(13)), 1.0, 1.0, 1e6, 1e12)
    lambda_z = factor / sum(counts)
    solution = solve_within(Problem(counts, lambda_z, lambda_b))
    if lambda_b >= 0.01:  # a nearly free bias of a count ratio of 1e12 may be beyond reach
        assert solution.converged, solution.summary()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-12, 1e-4, 1.0, 1e8])
def test_every_method_is_honest_on_a_trillion(method, factor):
    counts = (1.0, 1.0, 1e3, 1e6, 1e9, 1e12)
    top = numpy_oracle.lambda_max(counts, 0.01)
    solve_within(Problem(counts, factor * top, 0.01), method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lambda_z", [1e-300, 1e-100, 1e-30, 1e-16, 1e3, 1e100, 1e300])
@pytest.mark.parametrize("lambda_b", [0.0, 0.01, math.inf])
def test_lambda_z_far_from_every_threshold(method, lambda_z, lambda_b):
    problem = Problem((60.0, 60.0, 20.0, 5.0, 5.0, 1.0), lambda_z, lambda_b)
    solution = solve_within(problem, method=method)
    if lambda_z >= 1e3:
        assert solution.converged and not solution.Z.any()
    elif lambda_z >= 1e-30 and method != "proximal":
        assert solution.converged, solution.summary()


@pytest.mark.parametrize("lambda_b", [1e-300, 1e-12, 1e-8, 1e8, 1e300])
@pytest.mark.parametrize("factor", [1e-4, 0.3, 1.5])
def test_lambda_b_from_nearly_none_to_nearly_infinite(lambda_b, factor):
    counts = (60.0, 60.0, 20.0, 5.0, 5.0, 1.0)
    lambda_z = factor * numpy_oracle.lambda_max(counts, lambda_b)
    solution = solve_within(Problem(counts, lambda_z, lambda_b))
    if 1e-12 <= lambda_b:
        assert solution.converged, solution.summary()
    # The optimum grows with lambda_b, from lambda_b = 0 at most by the penalty on that bias.
    free, none = ufm.solve(counts, lambda_z, 0.0), ufm.solve(counts, lambda_z, math.inf)
    assert free.converged and none.converged
    assert free.dual_objective <= solution.objective
    assert solution.dual_objective <= none.objective * (1 + 1e-12)
    bound = free.objective + 0.5 * lambda_b * float(free.b @ free.b)
    assert solution.dual_objective <= bound * (1 + 1e-12)


@pytest.mark.parametrize("counts", [(1e-9, 3e-9, 3e-9), (1e-200, 2e-200), (1e200, 1e200, 3e199)])
def test_tiny_and_huge_counts(counts):
    """Only ratios of counts matter, once lambda_z follows sqrt(n)/N."""
    lambda_z = 0.1 * math.sqrt(min(counts)) / sum(counts)
    solution = solve_within(Problem(counts, lambda_z, 0.01))
    unit = tuple(n / min(counts) for n in counts)
    plain = ufm.solve(unit, 0.1 / sum(unit), 0.01)
    assert solution.converged
    assert solution.objective == pytest.approx(plain.objective, rel=1.01e-6)


@pytest.mark.parametrize("tol", [1e-14, 1e-16, 1e-300])
def test_unreachable_tolerance_ends_and_says_so(tol):
    problem = Problem((60.0, 60.0, 20.0, 5.0, 5.0, 1.0), 0.001, 0.01)
    solution = solve_within(problem, tol=tol)
    assert solution.relative_gap <= 1e-8


def test_one_iteration_is_not_convergence():
    counts = np.arange(1.0, 60.0)
    for method in METHODS:
        solution = ufm.solve(counts, 1e-6, 0.01, tol=1e-12, max_iterations=1, method=method)
        assert solution.status is ufm.Status.MAX_ITERATIONS
        assert not solution.converged
        assert solution.relative_gap > 1e-12
        problem = Problem(tuple(counts), 1e-6, 0.01)
        assert_certified(problem, solution, 1e-12, must_converge=False)


def test_many_clusters_of_many_classes():
    counts = np.repeat([10**4, 10**3, 100, 10, 1], [3, 30, 300, 3000, 30000])
    lambda_z = 0.5 / counts.sum()
    solution = ufm.solve(counts, lambda_z, 0.01)
    assert solution.converged
    assert not solution.collapsed.any()
    assert solution.rank == counts.size - 1


def test_large_class_weights_ratio():
    counts = (100.0, 100.0, 10.0, 10.0, 1.0)
    weights = (1e-6, 1e-6, 1.0, 1.0, 1e6)
    top = numpy_oracle.lambda_max(counts, 0.01, weights)
    for factor in (1e-6, 1e-2, 0.5, 1.5):
        solution = solve_within(Problem(counts, factor * top, 0.01, weights))
        assert solution.converged, solution.summary()


def test_infinite_logits_are_shown_without_warnings():
    """Offsets near the largest double: no step is finite, and the gap says so."""
    high, middle, low = 9.955345017863169e306, 5.22155916009425e306, 1.1052236315995382e306
    solution = ufm.solve(
        [1.0, 338.38551534282334, 22.5393390473479, 338.38551534282334],
        1.1554338803354406e-07,
        0.0,
        class_weights=[1.6883052866442823, 0.01, 0.38398452793253485, 0.01],
        loss=ufm.Loss(offsets=[high, low, middle, low]),
        max_iterations=50,
    )
    assert not solution.converged and solution.relative_gap > 0
    assert len(solution.summary().splitlines()) > 8 and solution.clusters and solution.blocks
    assert solution.column(1).shape == (4,) and repr(solution.entry(1, 1))
    if not np.isfinite(solution.Z).all():
        assert solution.relative_gap == math.inf
        with pytest.raises(ValueError, match="factors need a solution with finite logits"):
            solution.factors()
