"""Three and four clusters: the arithmetic of fixed size against the oracles and the general way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle as oracle
from problems import Problem, assert_certified, biases
from profiles import examples

# Any limit on the iterations keeps a problem off the fixed-size arithmetic.
GENERAL = {"max_iterations": 2000}


@st.composite
def few(draw: st.DrawFn) -> tuple[np.ndarray, float, float]:
    """Counts, lambda_z and lambda_b of a problem with three or four clusters."""
    logs = draw(st.lists(st.floats(0.0, 12.0), min_size=3, max_size=4, unique=True))
    sizes = [draw(st.integers(1, 30)) for _ in logs]
    counts = np.repeat(np.exp(logs), sizes)
    factor = draw(st.floats(math.log(1e-3), math.log(30.0)).map(math.exp))
    return counts, factor * math.sqrt(counts.min()) / counts.sum(), draw(biases())


@given(problem=few())
@examples(60)
def test_certificate_and_optimum(problem):
    counts, lambda_z, lambda_b = problem
    solution = ufm.solve(counts, lambda_z, lambda_b, tol=1e-8)
    assert_certified(Problem(tuple(counts), lambda_z, lambda_b), solution, 1e-8)
    general = ufm.solve(counts, lambda_z, lambda_b, tol=1e-8, **GENERAL)
    assert solution.objective == pytest.approx(general.objective, rel=2e-8)
    assert (solution.collapsed == general.collapsed).all()


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.99, 1.01, 2.0, 4.0])
@pytest.mark.parametrize("counts", [[5000] * 4 + [1000] * 3 + [200] * 3, [90, 40, 40, 7, 3, 3, 3]])
def test_kkt_conditions(counts, factor):
    counts = np.array(counts, dtype=float)
    lambda_z = factor * math.sqrt(counts.min()) / counts.sum()
    solution = ufm.solve(counts, lambda_z, 0.01, tol=1e-9)
    residuals = oracle.kkt_residuals(solution.Z, solution.b, counts, lambda_z, 0.01)
    assert max(vars(residuals).values()) < 2e-5, residuals
    general = ufm.solve(counts, lambda_z, 0.01, tol=1e-9, **GENERAL)
    np.testing.assert_allclose(solution.Z, general.Z, atol=2e-5 * np.abs(general.Z).max())
    np.testing.assert_allclose(solution.b, general.b, atol=2e-5 * np.abs(general.b).max())
    assert solution.rank == general.rank


def test_directions_that_vanish_are_exactly_zero():
    """Above its threshold the smallest cluster is zero, and with it a singular value of M."""
    counts = np.repeat([5000.0, 1000.0, 200.0], [4, 3, 3])
    ranks = {}
    for factor in (0.5, 2.0, 2.3, 4.0):
        solution = ufm.solve(counts, factor * math.sqrt(200.0) / counts.sum(), 0.01)
        ranks[factor] = solution.rank
        positive = solution.singular_values > 0
        assert positive.sum() == solution.rank
        direct = np.linalg.svd(solution.Z * np.sqrt(counts), compute_uv=False)
        assert (direct > 1e-9 * direct[0]).sum() == solution.rank
    assert ranks[0.5] == 9 > ranks[2.0] >= ranks[2.3] >= ranks[4.0]


@pytest.mark.parametrize("lambda_z", [1e-300, 1e-30, 1e-12])
@pytest.mark.parametrize("counts", [(3.0, 2.0, 1.0), (1e12, 1e6, 1.0), (8.0, 4.0, 2.0, 1e-3)])
def test_out_of_its_reach_the_general_way_decides(counts, lambda_z):
    solution = ufm.solve(counts, lambda_z, 0.01, time_limit=5.0)
    general = ufm.solve(counts, lambda_z, 0.01, time_limit=5.0, **GENERAL)
    assert solution.status is general.status
    assert solution.dual_objective <= general.objective * (1 + 1e-12)
    assert general.dual_objective <= solution.objective * (1 + 1e-12)


def test_expansion_is_that_of_the_blocks():
    counts = np.array([7.0, 50.0, 7.0, 300.0, 50.0])
    solution = ufm.solve(counts, 0.01, 0.02)
    own, other, of = solution.blocks.own, solution.blocks.between, solution.cluster_of
    expected = other[np.ix_(of, of)]
    np.fill_diagonal(expected, own[of])
    np.testing.assert_allclose(solution.Z, expected, rtol=1e-14)
    assert solution.Z.flags.c_contiguous and solution.Z.flags.writeable
    for k in range(5):
        np.testing.assert_allclose(solution.column(k), solution.Z[:, k], rtol=1e-14)
