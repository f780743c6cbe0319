"""Solves that start from the solution of a problem near by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from profiles import examples

COUNTS = np.geomspace(20, 2000, 12).round()


@pytest.mark.parametrize("method", ["proximal", "factored", "auto", "continuum"])
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_gives_the_solution_of_the_new_problem(method, factor):
    near = ufm.solve(COUNTS, 0.002, 0.02, method=method, tol=1e-9)
    cold = ufm.solve(COUNTS, 0.002 * factor, 0.02, method="factored", tol=1e-9)
    warm = ufm.solve(COUNTS, 0.002 * factor, 0.02, method=method, tol=1e-9, start=near)
    assert warm.converged
    assert warm.lambda_z == 0.002 * factor
    assert warm.objective == pytest.approx(cold.objective, rel=3e-9)
    np.testing.assert_allclose(warm.Z, cold.Z, atol=2e-3)


def test_saves_iterations_of_the_proximal_method():
    cold, warm, before = 0, 0, None
    for lambda_z in 0.004 * 0.9 ** np.arange(12):
        cold += ufm.solve(COUNTS, lambda_z, 0.02, method="proximal").iterations
        before = ufm.solve(COUNTS, lambda_z, 0.02, method="proximal", start=before)
        warm += before.iterations
    assert warm < 0.8 * cold


def test_classes_that_were_merged_come_apart_again():
    counts = [500] * 3 + [300] * 3 + [100] * 4
    merged = ufm.solve(counts, 0.02, 0.02)
    assert merged.collapsed.all()
    for method in ("proximal", "factored"):
        apart = ufm.solve(counts, 0.001, 0.02, method=method, start=merged)
        assert apart.converged
        assert not apart.collapsed.any()


@examples(25)
@given(
    st.lists(st.integers(1, 10_000), min_size=3, max_size=6, unique=True),
    st.floats(0.05, 20.0),
    st.floats(0.3, 3.0),
    st.sampled_from([0.0, 0.02, float("inf")]),
)
def test_other_counts_in_the_same_clusters(counts, factor, change, lambda_b):
    counts = np.repeat(np.sort(counts)[::-1], 2).astype(float)
    lambda_z = factor * np.sqrt(counts.min()) / counts.sum()
    near = ufm.solve(counts, lambda_z, 0.02)
    other = counts**0.9
    target = lambda_z * change
    cold = ufm.solve(other, target, lambda_b, method="factored")
    warm = ufm.solve(other, target, lambda_b, method="factored", start=near)
    assert warm.converged
    assert warm.objective == pytest.approx(cold.objective, rel=2e-6)


def test_refuses_other_clusters():
    near = ufm.solve([500, 500, 100], 0.002, 0.02)
    with pytest.raises(ValueError, match="start must group the classes into the same clusters"):
        ufm.solve([500, 100, 100], 0.002, 0.02, start=near)
    with pytest.raises(ValueError, match="3 classes in 2 clusters, the problem has 4 in 2"):
        ufm.solve([500, 500, 100, 100], 0.002, 0.02, start=near)
    with pytest.raises(TypeError, match="start must be a Solution or None"):
        ufm.solve([500, 500, 100], 0.002, 0.02, start=near.Z)


@pytest.mark.parametrize("method", ["auto", "proximal", "factored", "continuum"])
def test_the_time_for_the_certificate_is_part_of_the_whole(method):
    solution = ufm.solve(np.geomspace(10, 2000, 150), 1e-4, 0.02, method=method, tol=1e-3)
    assert 0 < solution.certificate_seconds < solution.seconds
