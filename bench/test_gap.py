"""The judge itself: known optima, both forms against each other, tiny lambda_z."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ufm
from bench.cases import LAMBDA_B, Case
from bench.gap import best_bias, judge, raw_gap
from bench.grouped import from_solution, grouped_gap

KINDS = [("distinct", 12), ("clusters", 10)]


@pytest.mark.parametrize("factor", [1e-6, 0.5, 2.0])
@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_both_forms_confirm_the_optimum(kind: str, size: int, factor: float) -> None:
    case = Case(kind, size, factor)
    solution = ufm.solve(case.counts, case.lambda_z, LAMBDA_B, tol=1e-8)
    dense = raw_gap(solution.Z, solution.b, case)
    grouped = grouped_gap(from_solution(solution), case.lambda_z, LAMBDA_B)
    assert judge(solution.Z, solution.b, case).relative <= 1e-8
    assert dense.primal == pytest.approx(solution.objective, rel=1e-11)
    assert grouped.primal == pytest.approx(dense.primal, rel=1e-12)
    assert grouped.dual == pytest.approx(dense.dual, rel=1e-10)


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_both_forms_agree_away_from_the_optimum(kind: str, size: int) -> None:
    case = Case(kind, size, 0.5)
    solution = ufm.solve(case.counts, case.lambda_z, LAMBDA_B)
    point = from_solution(solution)
    moved = dataclasses.replace(
        point, own=1.3 * point.own, between=1.3 * point.between, bias=0.5 * point.bias
    )
    dense = raw_gap(1.3 * solution.Z, 0.5 * solution.b, case)
    grouped = grouped_gap(moved, case.lambda_z, LAMBDA_B)
    assert dense.relative > 1e-3
    assert grouped.primal == pytest.approx(dense.primal, rel=1e-12)
    assert grouped.dual == pytest.approx(dense.dual, rel=1e-12)


def test_a_sloppy_bias_costs_nothing() -> None:
    case = Case("distinct", 12, 0.5)
    solution = ufm.solve(case.counts, case.lambda_z, LAMBDA_B, tol=1e-10)
    np.testing.assert_allclose(
        best_bias(solution.Z, np.zeros(12), case), solution.b, rtol=1e-5, atol=1e-7
    )
    assert judge(solution.Z, np.zeros(12), case).relative <= 1e-9


def test_a_diverged_answer_has_an_infinite_gap() -> None:
    case = Case("distinct", 10, 0.5)
    assert judge(np.full((10, 10), np.nan), np.zeros(10), case).relative == np.inf


def test_bounds_hold_at_random_points() -> None:
    case = Case("distinct", 10, 0.5)
    optimum = ufm.solve(case.counts, case.lambda_z, LAMBDA_B, tol=1e-10).objective
    rng = np.random.default_rng(0)
    for _ in range(20):
        gap = judge(3 * rng.standard_normal((10, 10)), rng.standard_normal(10), case)
        assert gap.dual <= optimum * (1 + 1e-12)
        assert gap.primal >= optimum * (1 - 1e-9)
