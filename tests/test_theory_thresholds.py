"""Where classes merge and where Z vanishes: each threshold is exact, from both sides."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import METHODS, Problem, assert_certified, biases, counts_tuples, two_clusters

BELOW, ABOVE = 0.999, 1.001
# (sizes, counts, index of the cluster, threshold as stated)
STATED = [
    ((5, 5), (500, 100), 1, 0.0033333),
    ((5, 5), (500, 100), 0, 0.0074536),
    ((3, 7), (500, 100), 1, 0.0045455),
    ((3, 7), (500, 100), 0, 0.0101639),
]


def members(sizes: tuple[int, int], cluster: int) -> slice:
    return slice(0, sizes[0]) if cluster == 0 else slice(sizes[0], sum(sizes))


@pytest.mark.parametrize(("sizes", "counts", "cluster", "stated"), STATED)
@pytest.mark.parametrize("method", METHODS)
def test_collapse_is_on_the_right_side(sizes, counts, cluster, stated, method):
    total = sizes[0] * counts[0] + sizes[1] * counts[1]
    exact = math.sqrt(counts[cluster]) / total
    assert exact == pytest.approx(stated, abs=5.1e-8)
    classes = members(sizes, cluster)
    for factor, collapsed in ((BELOW, False), (ABOVE, True)):
        problem = two_clusters(sizes, counts, factor * exact)
        solution = problem.solve(method=method)
        assert_certified(problem, solution)
        assert (solution.collapsed[classes] == collapsed).all()
        spread = np.ptp(solution.Z[:, classes], axis=1).max()
        assert spread == 0.0 if collapsed else spread > 1e-3


@pytest.mark.parametrize(("k_a", "n_a"), [(5, 300.0), (3, 1300.0 / 3.0)])
def test_minority_collapse_in_the_imbalance_ratio(k_a, n_a):
    sizes = (k_a, 10 - k_a)
    for factor, collapsed in ((BELOW, False), (ABOVE, True)):
        problem = two_clusters(sizes, (factor * n_a, 100.0), 0.005)
        solution = problem.solve()
        assert_certified(problem, solution)
        assert (solution.collapsed == np.repeat([False, collapsed], sizes)).all()


@pytest.mark.parametrize(("k_a", "stated"), [(5, 0.003983), (3, 0.006407)])
@pytest.mark.parametrize("method", METHODS)
def test_minority_predictions_vanish_above_the_second_threshold(k_a, stated, method):
    sizes = (k_a, 10 - k_a)
    minority = members(sizes, 1)
    above = two_clusters(sizes, (500, 100), ABOVE * stated).solve(tol=1e-9, method=method)
    below = two_clusters(sizes, (500, 100), BELOW * stated).solve(tol=1e-9, method=method)
    assert np.abs(above.Z[:, minority]).max() < 1e-6
    assert np.abs(below.Z[:, minority]).max() > 1e-3
    assert above.rank == k_a - 1
    assert below.rank == k_a
    assert np.abs(above.Z[:, 0]).max() > 1.0


@pytest.mark.parametrize("fraction", [1e-6, 0.3, 0.999, 1.001])
def test_every_cluster_collapses_at_its_own_threshold(fraction):
    counts = np.repeat([1.0, 7.0, 90.0, 90.5, 4000.0], [3, 2, 4, 1, 2])
    total = counts.sum()
    for level in (1.0, 7.0, 90.0, 4000.0):
        lambda_z = fraction * math.sqrt(level) / total
        solution = ufm.solve(counts, lambda_z, 0.01)
        assert solution.converged
        expected = (np.sqrt(counts) <= lambda_z * total) & (counts != 90.5)
        assert (solution.collapsed == expected).all()


def test_class_weights_move_the_threshold():
    counts = np.repeat([500.0, 100.0], 5)
    weights = counts.sum() / (10 * counts)  # class-balanced: the majority collapses first
    majority, minority = (w * math.sqrt(n) / counts.sum() for n, w in ((500, 0.6), (100, 3.0)))
    assert majority < minority
    for level, classes in ((majority, slice(0, 5)), (minority, slice(5, 10))):
        for factor, collapsed in ((BELOW, False), (ABOVE, True)):
            solution = ufm.solve(counts, factor * level, 0.02, class_weights=weights)
            assert solution.converged
            assert (solution.collapsed[classes] == collapsed).all()


def test_thresholds_lists_every_cluster():
    counts = [5, 9, 5, 100, 9, 9]
    thresholds = ufm.thresholds(counts, 0.02)
    total = sum(counts)
    found = {c.count: c for c in thresholds.clusters}
    assert set(found) == {5, 9, 100}
    assert {n: c.multiplicity for n, c in found.items()} == {5: 2, 9: 3, 100: 1}
    assert all(c.class_weight == 1 for c in thresholds.clusters)
    assert found[5].collapse == pytest.approx(math.sqrt(5) / total, rel=1e-14)
    assert found[9].collapse == pytest.approx(3 / total, rel=1e-14)
    assert math.isnan(found[100].collapse)  # a single class has nothing to merge with
    assert "lambda_max" in json.loads(json.dumps(thresholds.to_dict()))
    assert isinstance(thresholds.summary(), str) and thresholds.summary()


def test_thresholds_know_class_weights():
    counts, weights = [8, 8, 8, 2, 2], [1.0, 1.0, 3.0, 5.0, 5.0]
    thresholds = ufm.thresholds(counts, 0.02, weights)
    found = {(c.count, c.class_weight): c.collapse for c in thresholds.clusters}
    assert set(found) == {(8, 1.0), (8, 3.0), (2, 5.0)}
    assert found[8, 1.0] == pytest.approx(math.sqrt(8) / 28, rel=1e-14)
    assert found[2, 5.0] == pytest.approx(5 * math.sqrt(2) / 28, rel=1e-14)
    assert thresholds.lambda_max == pytest.approx(
        numpy_oracle.lambda_max(counts, 0.02, weights), rel=1e-10
    )


def test_lambda_max_of_a_repeated_largest_count_is_its_collapse_threshold():
    for lambda_b in (0.0, 0.02, math.inf):
        assert ufm.thresholds([50, 50, 7], lambda_b).lambda_max == pytest.approx(
            math.sqrt(50) / 107, rel=1e-12
        )
        assert ufm.thresholds([50, 20, 7], lambda_b).lambda_max < math.sqrt(50) / 77


@given(counts=counts_tuples(max_classes=40), lambda_b=biases())
def test_lambda_max_agrees_with_the_dense_formula(counts, lambda_b):
    expected = numpy_oracle.lambda_max(counts, lambda_b)
    assert ufm.thresholds(counts, lambda_b).lambda_max == pytest.approx(expected, rel=1e-9)


@given(
    counts=counts_tuples(max_classes=20, max_count=10**4),
    lambda_b=biases(),
    method=st.sampled_from(METHODS),
)
def test_lambda_max_is_exact(counts, lambda_b, method):
    top = ufm.thresholds(counts, lambda_b).lambda_max
    assume(top > 0)
    above = Problem(counts, top * (1 + 1e-6), lambda_b)
    solution = above.solve(method=method)
    assert_certified(above, solution)
    assert not solution.Z.any()
    assert solution.rank == 0
    # Z = 0 misses the optimum by O(eps^2) only: eps^2 must stand above the tolerance.
    below = Problem(counts, top * 0.99, lambda_b)
    solution = below.solve(tol=1e-9, method=method)
    assert_certified(below, solution, 1e-9)
    assert np.abs(solution.Z).max() > 1e-6
    assert solution.rank >= 1


def test_directions_tend_to_the_simplex_as_lambda_z_vanishes():
    counts = np.repeat([50.0, 20.0, 5.0, 3.0], [3, 3, 2, 1])
    E = np.eye(9) - 1 / 9
    cosines = []
    for lambda_z in (1e-3, 1e-5, 1e-8, 1e-12):
        Z = ufm.solve(counts, lambda_z, 0.01).Z
        cosines.append(np.sum(Z * E) / (np.linalg.norm(Z) * np.linalg.norm(E)))
    assert (np.diff(cosines) > 0).all()
    assert cosines[-1] > 0.995


def test_cosines_of_columns_and_rows():
    counts = np.repeat([500.0, 250.0], 5)
    Z = ufm.solve(counts, 0.1 / counts.sum(), 0.02, tol=1e-9).Z
    columns = Z / np.linalg.norm(Z, axis=0)
    rows = Z / np.linalg.norm(Z, axis=1)[:, None]
    by_column, by_row = columns.T @ columns, rows @ rows.T
    pairs = ((0, 1), (5, 6), (0, 5))
    assert [by_column[p] for p in pairs] == pytest.approx([-0.138, -0.078, -0.111], abs=6e-4)
    assert [by_row[p] for p in pairs] == pytest.approx([-0.117, -0.100, -0.113], abs=6e-4)


@pytest.mark.parametrize("lambda_b", [5e-324, 1e-300, 1e-20, 1e-17])
def test_a_vanishing_bias_penalty_is_none(lambda_b):
    # Only this penalty keeps the bias from shifting, and here it is lost beside the loss.
    for counts in ([17, 16, 17, 16, 17], [500] * 5 + [100] * 5, [9, 8, 7, 1, 1e5]):
        found = ufm.thresholds(counts, lambda_b).lambda_max
        assert found == pytest.approx(ufm.thresholds(counts, 0.0).lambda_max, rel=1e-12)


@pytest.mark.parametrize("lambda_b", [1e32, 1e300, 1.7e308])
def test_a_huge_bias_penalty_is_no_bias(lambda_b):
    for counts in ([17, 16, 17, 16, 17], [500] * 5 + [100] * 5, [9, 8, 7, 1, 1e5]):
        found = ufm.thresholds(counts, lambda_b).lambda_max
        assert found == ufm.thresholds(counts, math.inf).lambda_max


@pytest.mark.parametrize("sizes", [(3, 2), (2, 5), (4, 4, 3)])
@pytest.mark.parametrize("largest", [6.0, 7.0, 90.0, 1234.0, 1e6 / 3])
def test_classes_are_merged_on_the_threshold_itself(sizes, largest):
    """Whichever way the threshold is rounded."""
    values = largest / np.arange(1, len(sizes) + 1) ** 2
    counts = np.repeat(values, sizes)
    found = ufm.thresholds(counts, lambda_b=0.1)
    for i, count in enumerate(values):
        for at in (found.clusters[i].collapse, math.sqrt(count) / counts.sum()):
            merged = ufm.solve(counts, at, 0.1).collapsed
            assert merged[counts == count].all()
            assert not merged[counts > count].any()
