"""Count lists of real and synthetic long-tailed data sets, certified in numpy on dense matrices."""

from __future__ import annotations

import math

import pytest

from problems import Problem, assert_certified

SMALL = ("cifar10_lt_ir100", "cifar100_lt_ir10", "cifar100_lt_ir100")
LARGE = ("places_lt", "lvis_v1")


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_default_method_certifies_every_list(name, factor, counts_of):
    counts = tuple(counts_of(name))
    lambda_z = factor * math.sqrt(min(counts)) / sum(counts)
    problem = Problem(counts, lambda_z, 0.01)
    solution = problem.solve()
    certificate = assert_certified(problem, solution)
    assert certificate.relative_gap < 1e-6


@pytest.mark.parametrize("lambda_b", [0.0, math.inf])
@pytest.mark.parametrize("name", SMALL)
def test_without_and_with_unregularised_bias(name, lambda_b, counts_of):
    counts = tuple(counts_of(name))
    problem = Problem(counts, math.sqrt(min(counts)) / sum(counts), lambda_b)
    assert_certified(problem, problem.solve())


@pytest.mark.parametrize("name", SMALL)
def test_class_balanced_weights(name, counts_of):
    counts = tuple(counts_of(name))
    total, K = sum(counts), len(counts)
    weights = tuple(total / (K * n) for n in counts)
    problem = Problem(counts, 0.1 / (K * math.sqrt(max(counts))), 0.01, weights)
    assert_certified(problem, problem.solve())


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_lists_are_what_their_description_says(name, counts_of):
    """Guards the tests above against a truncated or re-ordered file."""
    facts = {
        "places_lt": (365, 62_500, 201),
        "lvis_v1": (1203, 360_952, 429),
        "cifar100_lt_ir100": (100, None, 85),
        "cifar100_lt_ir10": (100, None, 100),
        "cifar10_lt_ir100": (10, None, 10),
    }
    counts = counts_of(name)
    K, total, distinct = facts[name]
    assert counts.size == K
    assert total is None or counts.sum() == total
    assert distinct in (None, len(set(counts)))
