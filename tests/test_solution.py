"""The Solution object: its parts agree with each other and with numpy on the dense matrices."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import METHODS, Problem, assert_certified, problems, two_clusters

MIXED = Problem((400.0, 60.0, 400.0, 20.0, 60.0, 400.0, 7.0), 0.003, 0.02)


@pytest.fixture(scope="module")
def mixed() -> ufm.Solution:
    return MIXED.solve(tol=1e-9)


def test_attributes(mixed):
    assert isinstance(mixed, ufm.Solution)
    assert isinstance(mixed.status, ufm.Status)
    assert mixed.status is ufm.Status.CONVERGED and mixed.status.name == "CONVERGED"
    assert mixed.converged is True
    assert mixed.counts.tolist() == list(MIXED.counts)
    assert (mixed.lambda_z, mixed.lambda_b, mixed.tol) == (0.003, 0.02, 1e-9)
    assert mixed.class_weights is None
    assert mixed.Z.dtype == mixed.b.dtype == np.float64
    assert mixed.collapsed.dtype == np.bool_ and mixed.collapsed.shape == (7,)
    assert isinstance(mixed.objective, float) and isinstance(mixed.dual_objective, float)
    assert isinstance(mixed.relative_gap, float) and 0 <= mixed.relative_gap <= 1e-9
    assert isinstance(mixed.iterations, int) and mixed.iterations >= 0
    assert isinstance(mixed.seconds, float) and 0 <= mixed.seconds < 60
    assert mixed.method in {"proximal", "factored", "continuum"}
    assert isinstance(mixed.linear_algebra, str) and mixed.linear_algebra


def test_status_names():
    names = {status.name for status in ufm.Status}
    expected = {"CONVERGED", "MAX_ITERATIONS", "TIME_LIMIT", "INTERRUPTED", "NUMERICAL_ERROR"}
    assert expected <= names


def test_class_weights_are_kept():
    weights = [1.0, 2.0, 2.0]
    solution = ufm.solve([5, 6, 6], 0.01, 0.1, class_weights=weights)
    assert solution.class_weights is not None
    assert solution.class_weights.tolist() == weights


def test_arguments_are_copied():
    counts, weights = np.array([5.0, 6.0, 6.0]), np.array([1.0, 2.0, 2.0])
    solution = ufm.solve(counts, 0.01, 0.1, class_weights=weights)
    Z = solution.Z.copy()
    counts[:], weights[:] = 1.0, 1.0
    assert solution.counts.tolist() == [5, 6, 6]
    assert solution.class_weights.tolist() == [1, 2, 2]
    assert np.array_equal(solution.Z, Z)


@pytest.mark.parametrize(
    "counts",
    [
        [9, 4, 4, 1],
        (9.0, 4.0, 4.0, 1.0),
        np.array([9, 4, 4, 1], dtype=np.int16),
        np.array([9, 4, 4, 1], dtype=np.float32),
        np.array([9, 0, 4, 0, 4, 0, 1, 0])[::2],
        np.array([1, 4, 4, 9])[::-1],
    ],
)
def test_counts_of_every_kind(counts):
    expected = ufm.solve(np.array([9.0, 4.0, 4.0, 1.0]), 0.02, 0.1)
    assert np.array_equal(ufm.solve(counts, 0.02, 0.1).Z, expected.Z)


def test_read_only_counts():
    counts = np.array([9.0, 4.0, 4.0, 1.0])
    counts.flags.writeable = False
    assert ufm.solve(counts, 0.02, 0.1).converged


@given(problem=problems(max_classes=25))
def test_entries_columns_and_matrix_agree(problem):
    solution = problem.solve()
    K = len(problem.counts)
    Z = np.column_stack([solution.column(k) for k in range(K)])
    assert np.array_equal(Z, solution.Z)
    entries = [[solution.entry(j, k) for k in range(K)] for j in range(K)]
    assert np.array_equal(entries, solution.Z)
    assert isinstance(solution.entry(0, 0), float)


@pytest.mark.parametrize("bad", [7, -8, 10**20])
def test_indices_out_of_range(mixed, bad):
    for call in (
        lambda: mixed.column(bad),
        lambda: mixed.entry(bad, 0),
        lambda: mixed.entry(0, bad),
    ):
        with pytest.raises(IndexError):
            call()


@given(problem=problems(max_classes=25))
def test_block_structure(problem):
    """Equal (count, weight) gives a I + c J inside a cluster and one value between two clusters."""
    solution = problem.solve()
    weights = problem.class_weights or (1.0,) * len(problem.counts)
    kinds = list(zip(problem.counts, weights, strict=True))
    Z = solution.Z
    seen: dict[tuple, float] = {}
    for j, row in enumerate(kinds):
        assert solution.b[j] == seen.setdefault(("b", row), solution.b[j])
        for k, column in enumerate(kinds):
            key = (row, column, j == k)
            assert Z[j, k] == seen.setdefault(key, Z[j, k])
    for kind in set(kinds):
        if kinds.count(kind) > 1:
            assert seen[kind, kind, True] >= seen[kind, kind, False]


def test_clusters_describe_the_classes(mixed):
    clusters = mixed.clusters
    assert sorted(c.count for c in clusters) == [7, 20, 60, 400]
    assert sorted(k for c in clusters for k in c.indices) == list(range(7))
    for cluster in clusters:
        indices = np.asarray(cluster.indices)
        assert cluster.multiplicity == indices.size
        assert cluster.class_weight == 1.0
        assert (mixed.counts[indices] == cluster.count).all()
        assert (mixed.b[indices] == cluster.bias).all()
        assert (mixed.collapsed[indices] == cluster.collapsed).all()
        if cluster.multiplicity == 1:
            assert not cluster.collapsed
            continue
        first, second = indices[:2]
        gap = mixed.Z[first, first] - mixed.Z[second, first]
        assert cluster.amplitude / math.sqrt(cluster.count) == pytest.approx(gap, rel=1e-12)
        assert cluster.collapsed == (gap == 0)


@given(problem=problems(), method=st.sampled_from(METHODS))
def test_columns_and_bias_are_centred(problem, method):
    """1^T Z = 0 and 1^T b = 0 (theory, fact 1), far below the tolerance of the solve."""
    solution = problem.solve(method=method, time_limit=2.0)
    K, Z, b = len(problem.counts), solution.Z, solution.b
    assert np.abs(Z.sum(axis=0)).max() <= 1e-10 * K * max(1.0, float(np.abs(Z).max()))
    assert abs(b.sum()) <= 1e-10 * K * max(1.0, float(np.abs(b).max()))


@given(problem=problems(max_classes=20), seed=st.integers(0, 1000))
def test_order_of_the_classes_is_only_an_order(problem, seed):
    K = len(problem.counts)
    order = np.random.default_rng(seed).permutation(K)
    weights = problem.class_weights
    moved = problem.replace(
        counts=tuple(problem.counts[i] for i in order),
        class_weights=None if weights is None else tuple(weights[i] for i in order),
    )
    here, there = problem.solve(), moved.solve()
    assert there.Z == pytest.approx(here.Z[np.ix_(order, order)], rel=1e-9, abs=1e-9)
    assert there.b == pytest.approx(here.b[order], rel=1e-9, abs=1e-9)
    assert there.objective == pytest.approx(here.objective, rel=1e-12)
    assert (there.collapsed == here.collapsed[order]).all()


@given(problem=problems(max_classes=20), exponent=st.integers(-6, 6))
def test_more_samples_and_less_penalty_cancel(problem, exponent):
    """Counts times c and lambda_z over sqrt(c) is the same problem in Z and b."""
    scale = 4.0**exponent
    scaled = problem.replace(
        counts=tuple(scale * n for n in problem.counts),
        lambda_z=problem.lambda_z / math.sqrt(scale),
    )
    here, there = problem.solve(), scaled.solve()
    assert_certified(scaled, there)
    assert there.objective == pytest.approx(here.objective, rel=1.01e-6, abs=1e-300)
    assert there.Z == pytest.approx(here.Z, rel=1e-6, abs=1e-6)


@given(problem=problems(max_classes=20, smallest=1e-3, relative=True), scale=st.floats(0.01, 100.0))
def test_weights_and_penalties_scale_the_objective(problem, scale):
    weights = problem.class_weights or (1.0,) * len(problem.counts)
    scaled = problem.replace(
        class_weights=tuple(scale * w for w in weights),
        lambda_z=scale * problem.lambda_z,
        lambda_b=scale * problem.lambda_b,
    )
    here, there = problem.solve(), scaled.solve()
    assert_certified(scaled, there)
    assert there.objective == pytest.approx(scale * here.objective, rel=1.01e-6)


@given(problem=problems(max_classes=25))
def test_singular_values(problem):
    solution = problem.solve()
    expected = numpy_oracle.singular_values(solution.Z, problem.counts)
    values = np.asarray(solution.singular_values)
    assert values.ndim == 1 and values.size <= expected.size
    assert (np.diff(values) <= 0).all() and (values >= 0).all()
    padded = np.pad(values, (0, expected.size - values.size))
    assert np.abs(padded - expected).max() <= 1e-12 * max(expected[0], 1e-300)
    assert solution.rank <= len(problem.counts) - 1
    assert np.count_nonzero(values) == solution.rank
    floor = 1e-13 * expected[0]
    assert np.count_nonzero(expected > 1e-6 * max(expected[0], 1e-300)) <= solution.rank
    assert solution.rank <= np.count_nonzero(expected > floor)


@pytest.mark.parametrize(
    ("lambda_z", "rank"), [(0.0027, 9), (0.0033, 9), (0.0039, 5), (0.0051, 4), (0.0075, 0)]
)
def test_rank_of_known_solutions(lambda_z, rank):
    solution = two_clusters((5, 5), (500, 100), lambda_z).solve(tol=1e-9)
    assert solution.rank == rank


@given(problem=problems(max_classes=15), ratio=st.floats(0.1, 10.0))
def test_factors_reproduce_the_solution_and_balance(problem, ratio):
    solution = problem.solve()
    K, lambda_z = len(problem.counts), problem.lambda_z
    lambda_w, lambda_h = ratio * lambda_z, lambda_z / ratio
    W, H = solution.factors(lambda_w=lambda_w, lambda_h=lambda_h)
    d = W.shape[1]
    assert W.shape == (K, d) and H.shape == (d, K) and d >= solution.rank
    size = max(np.abs(solution.Z).max(), 1e-300)
    assert np.abs(W @ H - solution.Z).max() <= 1e-7 * size
    # lambda_W W^T W = lambda_H H D H^T, and the ridge penalties add up to the nuclear norm.
    D = np.asarray(problem.counts)
    left, right = lambda_w * W.T @ W, lambda_h * (H * D) @ H.T
    assert np.abs(left - right).max(initial=0) <= 1e-7 * np.abs(left).max(initial=0)
    ridge = 0.5 * lambda_w * np.sum(W**2) + 0.5 * lambda_h * np.sum(D * H**2)
    nuclear = lambda_z * numpy_oracle.nuclear_norm(solution.Z, D)
    assert ridge == pytest.approx(nuclear, rel=1e-7, abs=1e-300)


def test_factor_geometry(mixed):
    """W W^T and the class means H^T H against the SVD of X (theory, fact 11)."""
    lambda_w, lambda_h = 0.009, 0.001
    W, H = mixed.factors(lambda_w=lambda_w, lambda_h=lambda_h)
    root = np.sqrt(mixed.counts)
    U, s, Vt = np.linalg.svd(mixed.Z * root)
    assert W @ W.T == pytest.approx(math.sqrt(lambda_h / lambda_w) * (U * s) @ U.T, abs=1e-6)
    means = math.sqrt(lambda_w / lambda_h) * (Vt.T * s) @ Vt / np.outer(root, root)
    assert H.T @ H == pytest.approx(means, abs=1e-6)


def test_as_many_singular_values_as_the_rank():
    """Whatever the method left behind: many clusters, thresholds among them, lambda_b = 0."""
    rng = np.random.default_rng(3)
    for size in (3, 12, 60, 90, 140):
        counts = np.unique(np.round(10 ** rng.uniform(0, 4, size)))
        unit = math.sqrt(counts.max()) / counts.sum()
        for factor, lambda_b in ((1e-3, 0.01), (0.2, 0.0), (0.9, math.inf)):
            solution = ufm.solve(counts, factor * unit, lambda_b)
            values = solution.singular_values
            assert np.count_nonzero(values) == solution.rank < counts.size
            exact = numpy_oracle.singular_values(solution.Z, counts)
            assert values == pytest.approx(exact, abs=2e-5 * exact[0])
    batch = ufm.solve_many(counts, unit * np.geomspace(1e-2, 1, 4), 0.01)
    assert [np.count_nonzero(s.singular_values) for s in batch] == batch.rank.tolist()


@pytest.mark.parametrize("lambda_w", [1e-300, 1e-200, 1e200, 1e300])
def test_factors_at_the_ends_of_double_precision(mixed, lambda_w):
    W, H = mixed.factors(lambda_w=lambda_w)
    assert np.isfinite(W).all() and np.isfinite(H).all()
    assert np.abs(W @ H - mixed.Z).max() < 1e-7
    lambda_h = mixed.lambda_z * (mixed.lambda_z / lambda_w)
    other = mixed.factors(lambda_w=lambda_w, lambda_h=lambda_h)
    again = mixed.factors(lambda_h=lambda_h)
    for left, right, third in zip((W, H), other, again, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)
        np.testing.assert_allclose(left, third, rtol=1e-12)


def test_factors_refuse_what_double_precision_cannot_hold(mixed):
    tiny, huge = ufm.solve([3, 3], 1e-200, 0.1), ufm.solve([3, 3], 1e200, 0.1)
    with pytest.raises(
        ValueError, match=r"lambda_w must leave lambda_h .*got 1 for lambda_z = 1e-"
    ):
        tiny.factors(lambda_w=1.0)
    with pytest.raises(ValueError, match=r"lambda_h must leave lambda_w"):
        huge.factors(lambda_h=1.0)
    assert np.abs(np.matmul(*tiny.factors(lambda_w=1e-250)) - tiny.Z).max() < 1e-7
    assert huge.factors(lambda_w=1e150, lambda_h=1e250)[0].shape == (2, 0)
    with pytest.raises(ValueError, match=r"lambda_w \* lambda_h must equal"):
        huge.factors(lambda_w=1e200, lambda_h=1e199)


def test_factor_arguments(mixed):
    W, H = mixed.factors()
    assert np.abs(W @ H - mixed.Z).max() < 1e-7
    W, H = mixed.factors(dim=12)
    assert W.shape == (7, 12) and H.shape == (12, 7)
    assert np.abs(W @ H - mixed.Z).max() < 1e-7
    W, H = mixed.factors(lambda_w=0.006)  # lambda_h follows from lambda_w lambda_h = lambda_z^2
    left, right = 0.006 * W.T @ W, 0.0015 * (H * mixed.counts) @ H.T
    assert np.abs(left - right).max() < 1e-9
    with pytest.raises(ValueError, match="dim"):
        mixed.factors(dim=mixed.rank - 1)
    for bad in (0, -1, 2.5):
        with pytest.raises((ValueError, TypeError), match="dim"):
            mixed.factors(dim=bad)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="lambda_w"):
            mixed.factors(lambda_w=bad)
        with pytest.raises(ValueError, match="lambda_h"):
            mixed.factors(lambda_h=bad)
    with pytest.raises(ValueError, match=r"lambda_[wh]"):
        mixed.factors(lambda_w=1.0, lambda_h=1.0)  # not lambda_z squared


def test_text_shows_goal_and_outcome(mixed):
    for text in (repr(mixed), mixed.summary()):
        assert "CONVERGED" in text
        assert "gap" in text
    assert len(repr(mixed)) < 1000
    stopped = ufm.solve(np.arange(1.0, 60.0), 1e-6, 0.01, tol=1e-12, max_iterations=1)
    assert "MAX_ITERATIONS" in repr(stopped) and "MAX_ITERATIONS" in stopped.summary()


def test_to_dict_is_json(mixed):
    data = json.loads(json.dumps(mixed.to_dict()))
    for key in ("objective", "dual_objective", "relative_gap", "status", "rank", "method"):
        assert key in data
    assert data["status"] == "CONVERGED"
    assert data["objective"] == mixed.objective
