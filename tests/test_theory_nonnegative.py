"""Nonnegative features: known numbers, independent descent and certificates, the result object."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import nonnegative_oracle, numpy_oracle
from problems import Problem, counts_tuples, problems
from profiles import examples
from ufm.theory import _nonnegative_certificate

FIVE_FIVE = [150.0] * 5 + [30.0] * 5
# lambda_z in units of sqrt(30) / N: objective, z_AA, z_BB; lambda_b = 0.02
STATED = [
    (0.3, 0.747631, 3.512, 3.029),
    (0.8, 1.496843, 2.283, 1.324),
    (1.2, 1.828926, 1.590, 0.0),
    (2.0, 2.108310, 0.069, 0.0),
]


def solve(problem: Problem, **options) -> ufm.NonnegativeSolution:
    options.setdefault("class_weights", problem.class_weights)
    return ufm.nonnegative_solution(problem.counts, problem.lambda_z, problem.lambda_b, **options)


def certify(problem: Problem, solution: ufm.NonnegativeSolution):
    W, H = solution.factors()
    np.testing.assert_allclose(W @ H, solution.Z, atol=1e-12 * max(1.0, np.abs(solution.Z).max()))
    return nonnegative_oracle.certificate(W, H, solution.b, *problem.arguments())


# ---------------------------------------------------------------------- known numbers


@pytest.mark.parametrize(("factor", "objective", "z_aa", "z_bb"), STATED)
def test_known_numbers(factor, objective, z_aa, z_bb):
    lambda_z = factor * math.sqrt(30) / 900
    solution = ufm.nonnegative_solution(FIVE_FIVE, lambda_z, 0.02, tol=1e-9)
    assert solution.converged
    assert solution.objective == pytest.approx(objective, abs=5.1e-7)
    assert solution.Z[0, 0] == pytest.approx(z_aa, abs=5.1e-4)
    assert solution.Z[9, 9] == pytest.approx(z_bb, abs=5.1e-4)
    assert solution.seconds < 2.0


@pytest.mark.parametrize("lambda_z", [0.001, 0.004, 0.007])
def test_without_bias_each_class_is_by_itself(lambda_z):
    n, K, N = np.array(FIVE_FIVE), 10, 900.0
    solution = ufm.nonnegative_solution(n, lambda_z, math.inf)
    q = lambda_z * N * np.sqrt((K - 1) / (K * n))
    a = np.where(
        lambda_z >= np.sqrt(n * (K - 1) / K) / N,
        0.0,
        np.log((K - 1) * (1 / np.minimum(q, 0.9) - 1)),
    )
    np.testing.assert_allclose(solution.Z, (np.eye(K) - 1 / K) * a, atol=1e-13)
    assert solution.relative_gap <= 1e-14
    gauge = float(np.sqrt(n) @ np.linalg.norm(solution.Z, axis=0))
    loss = numpy_oracle.predictions(solution.Z, np.zeros(K)).loss
    assert solution.objective == pytest.approx(n / N @ loss + lambda_z * gauge, rel=1e-13)
    check = certify(Problem(tuple(FIVE_FIVE), lambda_z, math.inf), solution)
    assert check.primal == pytest.approx(solution.objective, rel=1e-13)
    assert check.relative_gap <= 1e-13
    assert solution.rank == np.linalg.matrix_rank(solution.Z)


def test_a_stiff_bias_penalty_gives_the_closed_form():
    counts = [40, 40, 40, 10, 10, 3]
    closed = ufm.nonnegative_solution(counts, 0.02, math.inf)
    stiff = ufm.nonnegative_solution(counts, 0.02, 1e8, tol=1e-10)
    assert closed.method == "closed form" != stiff.method
    assert stiff.objective == pytest.approx(closed.objective, rel=1e-7)
    np.testing.assert_allclose(stiff.Z, closed.Z, atol=1e-5)


def test_closed_form_of_very_many_classes():
    counts = np.round(np.geomspace(2, 1e6, 300_000))
    solution = ufm.nonnegative_solution(counts, 1e-9, math.inf)
    assert solution.converged
    K, k, q = 300_000, 299_000, 1e-9 * counts.sum() / math.sqrt(counts[299_000])
    column = solution.column(k)
    assert column[k] - column[0] == pytest.approx(math.log((K - 1) * (1 / q - 1)), rel=1e-5)
    assert column[0] == pytest.approx(column[-1], rel=1e-12) and column[0] < 0
    assert abs(column.sum()) < 1e-9
    assert solution.collapsed[0] and not solution.column(0).any()


# ---------------------------------------------------------------------- independent solves


@pytest.mark.parametrize(
    ("counts", "lambda_z", "lambda_b"),
    [
        ([6, 6, 3], 0.1, 0.02),
        ([60, 60, 20, 20], 0.03, 0.02),  # the minority has vanished
        ([20, 20, 10, 5], 0.03, 0.002),  # merged and single classes share units
        ([50, 20, 20, 5, 5], 0.01, 1e-4),
        ([9, 9, 9, 3, 3], 0.004, 0.5),
    ],
)
def test_descent_on_the_factors_finds_nothing_better(counts, lambda_z, lambda_b):
    solution = ufm.nonnegative_solution(counts, lambda_z, lambda_b, tol=1e-8)
    ends = nonnegative_oracle.descend(counts, lambda_z, lambda_b, width=4 * len(counts), starts=4)
    assert solution.converged
    assert min(ends) >= solution.dual_objective * (1 - 1e-12)
    assert min(ends) == pytest.approx(solution.objective, rel=1e-8)


def test_where_descent_gets_stuck_the_optimum_is_certified():
    # At width 2K some starts of descent end at dead units.
    lambda_z = 0.8 * math.sqrt(30) / 900
    solution = ufm.nonnegative_solution(FIVE_FIVE, lambda_z, 0.02)
    ends = nonnegative_oracle.descend(FIVE_FIVE, lambda_z, 0.02, width=12, starts=6)
    assert min(ends) >= solution.dual_objective
    assert max(ends) > solution.objective * (1 + 1e-3)


@examples(60)
@given(problems(max_classes=6, max_count=10**4, smallest=1e-4, relative=True))
def test_certified_by_every_support(problem):
    solution = solve(problem)
    assert solution.converged, solution.summary()
    check = certify(problem, solution)
    assert solution.objective == pytest.approx(check.primal, rel=1e-10, abs=1e-300)
    assert check.relative_gap <= solution.relative_gap + 1e-9 <= 1.1e-6
    # The dual point that was scaled less than this is not feasible.
    assert solution.dual_objective <= check.dual * (1 + 1e-9) + 1e-300


# ---------------------------------------------------------------------- properties


@examples(40)
@given(problems(max_classes=40, max_distinct=6, max_count=10**4, smallest=1e-3, relative=True))
def test_no_better_than_features_of_any_sign(problem):
    solution = solve(problem)
    free = problem.solve()
    assert solution.converged
    assert free.dual_objective <= solution.objective * (1 + 1e-12)
    assert abs(solution.Z.sum(axis=0)).max() <= 1e-6 * max(1.0, np.abs(solution.Z).max())


@examples(40)
@given(problems(max_classes=40, max_distinct=6, max_count=10**4, smallest=1e-3, relative=True))
def test_collapse_below_the_free_threshold_is_by_vanishing(problem):
    solution = solve(problem)
    for cluster in solution.clusters:
        if cluster.multiplicity == 1 or abs(solution.lambda_z / cluster.threshold - 1) < 1e-6:
            continue
        column = solution.column(int(cluster.indices[0]))
        vanished = not column.any()
        above = solution.lambda_z > cluster.threshold
        if above or vanished:
            assert cluster.collapsed
        elif cluster.collapsed:
            pytest.fail(f"collapsed below the threshold with features: {problem}")


@examples(20)
@given(counts_tuples(max_classes=12, max_count=1000, max_distinct=4), st.randoms())
def test_class_order_is_respected(counts, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    lambda_z = 0.4 * math.sqrt(min(counts)) / sum(counts)
    first = ufm.nonnegative_solution(counts, lambda_z, 0.05)
    second = ufm.nonnegative_solution([counts[i] for i in order], lambda_z, 0.05)
    np.testing.assert_allclose(second.Z, first.Z[np.ix_(order, order)], atol=1e-10)
    np.testing.assert_allclose(second.b, first.b[order], atol=1e-10)
    np.testing.assert_array_equal(second.collapsed, first.collapsed[order])


# ---------------------------------------------------------------------- sizes


def test_cost_does_not_depend_on_the_cluster_sizes():
    counts = np.repeat([500.0, 100.0, 20.0], [300, 300, 400])
    for factor in (0.3, 1.5):
        lambda_z = factor * math.sqrt(20) / counts.sum()
        solution = ufm.nonnegative_solution(counts, lambda_z, 0.01)
        assert solution.converged
        assert solution.seconds < 2.0
        check = Problem(tuple(counts), lambda_z, 0.01)
        W, H = solution.factors()
        gauge = nonnegative_oracle.gauge_of_factors(W, H, counts)
        p = numpy_oracle.predictions(W @ H, solution.b)
        pi = counts / counts.sum()
        primal = pi @ p.loss + lambda_z * gauge + 0.005 * solution.b @ solution.b
        assert primal == pytest.approx(solution.objective, rel=1e-11)
        assert check.solve().objective <= solution.objective
        assert solution.collapsed.sum() == (400 if factor > 1 else 0)


@pytest.mark.parametrize("lambda_b", [0.05, 1e-3])
def test_many_different_counts(lambda_b):
    counts = np.unique(np.round(np.geomspace(3, 2000, 24)))
    lambda_z = math.sqrt(counts.min()) / counts.sum()
    solution = ufm.nonnegative_solution(counts, lambda_z, lambda_b)
    assert solution.converged and solution.dual_bound_is_exact
    free = ufm.solve(counts, lambda_z, lambda_b)
    assert free.dual_objective <= solution.objective


def test_features_near_zero_are_not_forced_there():
    # Newton's steps once ended early here, with features near zero set to zero too soon.
    counts = np.repeat([8.0, 7.0, 5.0, 4.0, 3.0, 2.0], [3, 1, 3, 203, 2, 5])
    assert ufm.nonnegative_solution(counts, 0.0032450424815693053, 0.0).converged


def test_one_class_and_equal_classes():
    alone = ufm.nonnegative_solution([7], 0.1, 0.1)
    assert alone.converged and alone.objective == 0 and alone.rank == 0
    assert not alone.Z.any() and not alone.b.any()
    equal = ufm.nonnegative_solution([20] * 4, 0.01, 0.1)
    closed = ufm.nonnegative_solution([20] * 4, 0.01, math.inf)
    assert equal.objective == pytest.approx(closed.objective, rel=1e-9)


@pytest.mark.parametrize("lambda_b", [0.0, 1e-9, 1.0, 1e300])
@pytest.mark.parametrize("lambda_z", [1e-12, 1e-6, 1.0, 1e300])
def test_extreme_lambdas(lambda_z, lambda_b):
    counts = np.array([1000.0, 1000.0, 10.0, 10.0, 10.0])
    solution = ufm.nonnegative_solution(counts, lambda_z, lambda_b)
    assert solution.converged, solution.summary()
    free = ufm.solve(counts, lambda_z, lambda_b)
    assert free.dual_objective <= solution.objective * (1 + 1e-12)
    if lambda_z >= 1:
        assert not solution.Z.any() and solution.collapsed.all()
        assert solution.objective == pytest.approx(free.objective, rel=1e-9)
    if lambda_b >= 1e300:
        closed = ufm.nonnegative_solution(counts, lambda_z, math.inf)
        assert solution.objective == pytest.approx(closed.objective, rel=1e-6)
        assert np.abs(solution.b).max() < 1e-200


# ---------------------------------------------------------------------- ends before the goal


def test_an_iteration_limit_is_told_with_an_honest_gap():
    counts, lambda_z, lambda_b = [50, 20, 20, 5, 5], 0.01, 1e-4
    solution = ufm.nonnegative_solution(counts, lambda_z, lambda_b, max_iterations=1)
    best = ufm.nonnegative_solution(counts, lambda_z, lambda_b, tol=1e-10)
    assert solution.status is ufm.Status.MAX_ITERATIONS and not solution.converged
    assert solution.iterations <= 1
    assert 1e-6 < solution.relative_gap <= 1
    assert solution.dual_objective <= best.objective <= solution.objective


def test_a_time_limit_is_told():
    counts = np.round(np.geomspace(1, 5000, 40))
    solution = ufm.nonnegative_solution(counts, 1e-5, 1e-5, time_limit=0.01)
    assert solution.status is ufm.Status.TIME_LIMIT
    assert solution.seconds < 5.0
    best = ufm.solve(counts, 1e-5, 1e-5)
    assert best.dual_objective <= solution.objective


def test_a_bound_that_is_not_attained_is_told(monkeypatch):
    class Spent(_nonnegative_certificate.Budget):
        @property
        def is_spent(self) -> bool:
            return True

    counts, lambda_z, lambda_b = [50, 20, 20, 5, 5], 0.02, 1e-4
    best = ufm.nonnegative_solution(counts, lambda_z, lambda_b, tol=1e-9)
    assert best.converged and best.dual_bound_is_exact
    monkeypatch.setattr(_nonnegative_certificate, "Budget", Spent)
    rough = ufm.nonnegative_solution(counts, lambda_z, lambda_b)
    assert not rough.dual_bound_is_exact
    assert rough.dual_objective <= best.dual_objective * (1 + 1e-9)
    assert rough.converged == (rough.relative_gap <= 1e-6)
    assert "not found exactly" in rough.summary()


# ---------------------------------------------------------------------- the result object


def test_factors():
    lambda_z = 0.005
    solution = ufm.nonnegative_solution(FIVE_FIVE, lambda_z, 0.02)
    W, H = solution.factors(dim=30, lambda_w=1e-3)
    assert W.shape == (10, 30) and H.shape == (30, 10) and (H >= 0).all()
    np.testing.assert_allclose(W @ H, solution.Z, atol=1e-13)
    lambda_h = lambda_z**2 / 1e-3
    decay = 0.5 * 1e-3 * (W**2).sum() + 0.5 * lambda_h * (FIVE_FIVE * H**2).sum()
    loss = numpy_oracle.predictions(solution.Z, solution.b).loss
    bias = 0.01 * solution.b @ solution.b
    total = np.array(FIVE_FIVE) / 900 @ loss + decay + bias
    assert total == pytest.approx(solution.objective, rel=1e-12)
    with pytest.raises(ValueError, match=f"number of units {solution.num_units}, got 3"):
        solution.factors(dim=3)
    with pytest.raises(ValueError, match="lambda_w \\* lambda_h"):
        solution.factors(lambda_w=1.0, lambda_h=1.0)


def test_text_and_entries():
    solution = ufm.nonnegative_solution(FIVE_FIVE, 0.0073, 0.02)
    assert repr(solution).startswith("<ufm.NonnegativeSolution CONVERGED: K=10 in 2 clusters")
    assert "nonnegative features: K = 10" in solution.summary()
    told = json.loads(json.dumps(solution.to_dict()))
    assert told["status"] == "CONVERGED" and told["collapsed_classes"] == 5
    assert told["dual_bound_is_exact"] is True
    np.testing.assert_array_equal(solution.column(2), solution.Z[:, 2])
    assert solution.entry(0, 2) == solution.Z[0, 2]
    values = np.linalg.svd(solution.Z * np.sqrt(solution.counts), compute_uv=False)
    np.testing.assert_allclose(solution.singular_values, values, atol=1e-10)
    assert solution.rank == (values > 1e-8).sum()
    assert isinstance(solution, ufm.Solution)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "named"),
    [
        (([], 0.1, 0.1), {}, ValueError, "counts"),
        (([1, -2], 0.1, 0.1), {}, ValueError, "counts"),
        (("ab", 0.1, 0.1), {}, TypeError, "counts"),
        (([3, 2], 0.0, 0.1), {}, ValueError, "lambda_z"),
        (([3, 2], "x", 0.1), {}, TypeError, "lambda_z"),
        (([3, 2], 0.1, -1.0), {}, ValueError, "lambda_b"),
        (([3, 2], 0.1, math.nan), {}, ValueError, "lambda_b"),
        (([3, 2], 0.1, 0.1), {"tol": 0.0}, ValueError, "tol"),
        (([3, 2], 0.1, 0.1), {"class_weights": [1.0]}, ValueError, "class_weights"),
        (([3, 2], 0.1, 0.1), {"max_iterations": 0}, ValueError, "max_iterations"),
        (([3, 2], 0.1, 0.1), {"time_limit": -1.0}, ValueError, "time_limit"),
    ],
)
def test_bad_input_names_the_argument(arguments, options, error, named):
    with pytest.raises(error, match=named):
        ufm.nonnegative_solution(*arguments, **options)
