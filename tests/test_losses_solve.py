"""The loss zoo solved: against independent oracles, and on both sides of its thresholds."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from loss_problems import assert_optimal, loss_problems, problem_of, solve
from oracles.cvxpy_loss_oracle import solve_conic_loss
from profiles import examples

COUNTS = np.repeat([120.0, 30.0, 6.0], [2, 3, 2])
LOSSES = {
    "label smoothing": ufm.losses.label_smoothing(0.1),
    "logit adjustment": ufm.losses.logit_adjustment(COUNTS, 1.0),
    "cdt": ufm.losses.cdt(COUNTS, 0.2),
    "vector scaling": ufm.losses.vector_scaling(
        COUNTS, gamma=0.15, tau=0.75, class_weights=COUNTS**-0.3
    ),
    "inverse frequency": ufm.losses.inverse_frequency(COUNTS),
    "class balanced": ufm.losses.class_balanced(COUNTS, 0.99),
    "all at once": ufm.Loss(
        smoothing=0.2,
        offsets=np.log(COUNTS),
        scales=(COUNTS / 120) ** 0.1,
        class_weights=COUNTS**-0.5,
    ),
}
# What multiplies sqrt(n) / N, written out by hand for the three kinds of classes.
FACTORS = {
    "label smoothing": [0.9, 0.9, 0.9],
    "logit adjustment": [1.0, 1.0, 1.0],
    "cdt": [1.0, 0.25**0.2, 0.05**0.2],
    "vector scaling": [n**-0.3 * (n / 120) ** 0.15 for n in (120, 30, 6)],
    "inverse frequency": [342 / (7 * n) for n in (120, 30, 6)],
    "class balanced": None,
    "all at once": [0.8 * (n / 120) ** 0.1 * n**-0.5 for n in (120, 30, 6)],
}
KINDS = [slice(0, 2), slice(2, 5), slice(5, 7)]
names = pytest.mark.parametrize("name", LOSSES)


@names
@pytest.mark.parametrize("lambda_b", [0.02, math.inf])
def test_thresholds_are_bracketed(name, lambda_b):
    loss = LOSSES[name]
    found = ufm.thresholds(COUNTS, lambda_b, loss=loss)
    levels = [cluster.collapse for cluster in found.clusters]
    if FACTORS[name]:
        hand = [f * math.sqrt(n) / 342 for f, n in zip(FACTORS[name], (120, 30, 6), strict=True)]
        assert levels == pytest.approx(hand, rel=1e-13)
    for level, kind in zip(levels, KINDS, strict=True):
        for factor, merged in ((0.998, False), (1.002, True)):
            solution = ufm.solve(COUNTS, factor * level, lambda_b, loss=loss, tol=1e-8)
            assert solution.converged
            Z = solution.Z[kind, kind]
            distance = Z[0, 0] - Z[1, 0]
            assert (distance == 0) == merged
            assert distance >= 0
            assert (solution.collapsed[kind] == merged).all()
            columns = solution.Z[:, kind]
            assert np.array_equal(columns[:, 0], columns[:, 1]) == merged


@names
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
def test_lambda_max_is_bracketed(name, lambda_b):
    loss = LOSSES[name]
    top = ufm.thresholds(COUNTS, lambda_b, loss=loss).lambda_max
    zero = ufm.solve(COUNTS, 1.002 * top, lambda_b, loss=loss, tol=1e-9)
    assert zero.converged and not zero.Z.any() and zero.rank == 0
    some = ufm.solve(COUNTS, 0.998 * top, lambda_b, loss=loss, tol=1e-9)
    assert some.converged and np.abs(some.Z).max() > 1e-4 and some.rank >= 1
    if lambda_b:
        # By the oracle: at Z = 0 with the bias found the gradient has norm lambda_max.
        problem = problem_of(COUNTS, top, lambda_b, loss)
        G, g = problem.gradient(zero.Z, zero.b)
        assert np.linalg.norm(G, 2) == pytest.approx(top, rel=1e-7)
        if math.isfinite(lambda_b):
            assert np.abs(g + lambda_b * zero.b).max() < 1e-9


@names
@pytest.mark.parametrize("lambda_b", [0.02, math.inf])
@pytest.mark.parametrize("fraction", [0.05, 0.6])
def test_agreement_with_clarabel(name, lambda_b, fraction):
    loss = LOSSES[name]
    top = ufm.thresholds(COUNTS, lambda_b, loss=loss).lambda_max
    problem = problem_of(COUNTS, fraction * top, lambda_b, loss)
    solution = solve(problem, tol=1e-9)
    assert_optimal(problem, solution, 1e-9)
    infeasibility, complementarity, bias = problem.kkt(solution.Z, solution.b)
    assert infeasibility < 1e-4 and abs(complementarity) < 1e-6
    assert math.isinf(lambda_b) or bias < 1e-7
    conic = solve_conic_loss(problem)
    assert conic.status == "optimal"
    assert conic.objective >= solution.dual_objective * (1 - 1e-9)
    assert conic.objective == pytest.approx(solution.objective, rel=2e-7)
    assert np.abs(conic.Z - solution.Z).max() < 5e-3
    assert np.abs(conic.b - solution.b).max() < 5e-3


def test_unregularised_bias_agrees_with_clarabel():
    for name in ("label smoothing", "vector scaling", "all at once"):
        problem = problem_of(COUNTS, 0.004, 0.0, LOSSES[name])
        solution = solve(problem, tol=1e-9)
        assert_optimal(problem, solution, 1e-9)
        # The least bias among the equally good ones.
        assert abs(solution.b @ (1 / problem.scales)) < 1e-9
        conic = solve_conic_loss(problem)
        assert conic.objective == pytest.approx(solution.objective, rel=2e-7)
        assert conic.objective >= solution.dual_objective * (1 - 1e-9)


@given(problem=loss_problems(), method=st.sampled_from(["auto", "factored", "proximal"]))
@examples(100)
def test_random_problems(problem, method):
    assert_optimal(problem, solve(problem, method=method, tol=1e-7), 1e-7)


@given(problem=loss_problems(max_classes=6), seed=st.integers(0, 100))
@examples(40)
def test_order_of_the_classes_does_not_matter(problem, seed):
    order = np.random.default_rng(seed).permutation(problem.K)
    shuffled = type(problem)(
        problem.counts[order],
        problem.lambda_z,
        problem.lambda_b,
        problem.smoothing,
        problem.scales[order],
        problem.offsets[order],
        problem.class_weights[order],
    )
    first, second = solve(problem, tol=1e-9), solve(shuffled, tol=1e-9)
    assert second.objective == pytest.approx(first.objective, rel=1e-10)
    assert (second.collapsed == first.collapsed[order]).all()
    assert np.abs(second.Z - first.Z[np.ix_(order, order)]).max() < 1e-6


@given(problem=loss_problems(smoothings=[0.0]), constant=st.floats(-5, 5))
@examples(25)
def test_trivial_adjustments_are_the_plain_problem(problem, constant):
    weights = problem.class_weights
    arguments = (problem.counts, problem.lambda_z, problem.lambda_b)
    plain = ufm.solve(*arguments, class_weights=weights)
    trivial = ufm.Loss(
        smoothing=0.0, scales=np.ones(problem.K), offsets=np.full(problem.K, constant)
    )
    solution = ufm.solve(*arguments, class_weights=weights, loss=trivial)
    assert np.array_equal(solution.Z, plain.Z) and np.array_equal(solution.b, plain.b)
    assert solution.objective == plain.objective and solution.method == plain.method


@given(
    problem=loss_problems(smoothings=[0.0, 0.1]),
    factor=st.floats(0.2, 5.0),
    constant=st.floats(-3.0, 3.0),
)
@examples(40)
def test_scaling_all_logits_is_scaling_the_lambdas(problem, factor, constant):
    # delta (Z + b) = Z' + b': lambda_z' = lambda_z / delta, lambda_b' = lambda_b / delta^2.
    scaled = type(problem)(
        problem.counts,
        problem.lambda_z * factor,
        problem.lambda_b * factor**2,
        problem.smoothing,
        problem.scales * factor,
        problem.offsets + constant,
        problem.class_weights,
    )
    first, second = solve(problem, tol=1e-9), solve(scaled, tol=1e-9)
    assert second.objective == pytest.approx(first.objective, rel=3e-9)
    assert np.abs(factor * second.Z - first.Z).max() < 1e-3
    if not any(abs(problem.lambda_z / c.threshold - 1) < 1e-9 for c in first.clusters):
        assert (second.collapsed == first.collapsed).all()  # no verdict hangs on rounding


@given(problem=loss_problems(max_classes=7), factor=st.floats(0.1, 10.0))
@examples(25)
def test_weights_times_a_constant_are_lambdas_over_it(problem, factor):
    weighted = type(problem)(
        problem.counts,
        problem.lambda_z * factor,
        problem.lambda_b * factor,
        problem.smoothing,
        problem.scales,
        problem.offsets,
        problem.class_weights * factor,
    )
    first, second = solve(problem, tol=1e-9), solve(weighted, tol=1e-9)
    assert second.objective == pytest.approx(factor * first.objective, rel=3e-9)


@given(problem=loss_problems(max_classes=8, smallest=1e-2))
@examples(40)
def test_clusters_rank_and_collapse_are_those_of_the_dense_matrix(problem):
    solution = solve(problem, tol=1e-9)
    Z, b = solution.Z, solution.b
    values = np.linalg.svd(Z * np.sqrt(problem.counts), compute_uv=False)
    np.testing.assert_allclose(solution.singular_values, values, atol=1e-7 * max(values[0], 1e-300))
    assert solution.rank == (values > 1e-9 * max(values[0], 1e-300)).sum()
    keys = list(
        zip(problem.counts, problem.class_weights, problem.scales, problem.offsets, strict=True)
    )
    for i, first in enumerate(keys):
        alike = [j for j, other in enumerate(keys) if other == first]
        assert alike == np.flatnonzero(solution.cluster_of == solution.cluster_of[i]).tolist()
        merged = len(alike) > 1 and all(np.array_equal(Z[:, i], Z[:, j]) for j in alike)
        assert solution.collapsed[i] == merged
        assert b[alike] == pytest.approx(b[i])
    for cluster in solution.clusters:
        if cluster.multiplicity > 1:
            assert cluster.collapsed == (problem.lambda_z >= cluster.threshold)


@pytest.mark.parametrize("repeats_penalised", [True, False])
def test_oversampling_sample_by_sample(repeats_penalised):
    # Every sample is a column of its own, penalised as its showings say; no class means assumed.
    counts, factors, lambda_z = [3, 1, 2], np.array([1.0, 4.0, 2.0]), 0.05
    plan = ufm.losses.oversample(counts, factors, repeats_penalised=repeats_penalised)
    solution = ufm.solve(plan.counts, lambda_z, 0.1, class_weights=plan.class_weights, tol=1e-9)
    label = np.repeat([0, 1, 2], counts)
    shown = factors[label]
    X, b = cp.Variable((3, label.size)), cp.Variable(3)
    cost = shown if repeats_penalised else np.ones(label.size)
    Z = X @ np.diag(cost**-0.5)
    total = sum(
        shown[i] * (cp.log_sum_exp(Z[:, i] + b) - Z[k, i] - b[k]) for i, k in enumerate(label)
    )
    objective = total / shown.sum() + lambda_z * cp.normNuc(X) + 0.05 * cp.sum_squares(b)
    best = cp.Problem(cp.Minimize(objective)).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9
    )
    assert solution.objective == pytest.approx(best, rel=1e-6)
    dense = X.value / np.sqrt(cost)
    for i, k in enumerate(label):
        assert np.abs(dense[:, i] - solution.Z[:, k]).max() < 5e-3


def test_oversampling_thresholds():
    counts, factors = np.repeat([100.0, 20.0], 3), np.repeat([1.0, 3.0], 3)
    for repeats_penalised, power in ((True, 0.5), (False, 1.0)):
        plan = ufm.losses.oversample(counts, factors, repeats_penalised=repeats_penalised)
        level = 3.0**power * math.sqrt(20) / 480
        for factor, merged in ((0.998, False), (1.002, True)):
            solution = ufm.solve(
                plan.counts, factor * level, 0.02, class_weights=plan.class_weights
            )
            assert (solution.collapsed[3:] == merged).all()
            assert (solution.Z[3, 3] == solution.Z[3, 4]) == merged


def test_many_different_classes():
    rng = np.random.default_rng(0)
    counts = np.floor(1000 * 50.0 ** -np.linspace(0, 1, 90))
    loss = ufm.Loss(
        smoothing=0.05, offsets=np.log(counts), scales=rng.uniform(0.5, 1.5, counts.size)
    )
    problem = problem_of(counts, 0.5 * math.sqrt(20) / counts.sum(), 0.01, loss)
    solution = solve(problem, tol=1e-7)
    assert_optimal(problem, solution, 1e-7)
    assert solution.num_clusters > 64
    assert solution.rank == 89
    high = problem_of(counts, 0.7 * math.sqrt(counts[0]) / counts.sum(), 0.01, loss)
    solution = solve(high, tol=1e-7)
    values = np.linalg.svd(solution.Z * np.sqrt(counts), compute_uv=False)
    assert 0 < solution.rank == (values > 1e-5 * values[0]).sum() < 89


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("spread", [0.0, 30.0])
def test_extreme_scales_and_offsets(scale, spread):
    counts = np.array([50.0, 50.0, 7.0, 7.0, 2.0])
    loss = ufm.Loss(
        scales=scale * np.array([1.0, 1.0, 2.0, 2.0, 0.5]),
        offsets=spread * np.array([1.0, 1.0, 0.0, 0.0, -1.0]),
    )
    for lambda_b in (0.0, 0.02, math.inf):
        top = ufm.thresholds(counts, lambda_b, loss=loss).lambda_max
        for fraction in (1e-6, 1e-2, 0.9):
            problem = problem_of(counts, fraction * top, lambda_b, loss)
            solution = solve(problem)
            assert solution.converged, solution
            assert solution.objective == pytest.approx(
                problem.objective(solution.Z, solution.b), rel=1e-8
            )


@names
@pytest.mark.parametrize("method", ["factored", "proximal"])
def test_warm_starts_know_the_loss(name, method):
    loss = LOSSES[name]
    near = ufm.solve(COUNTS, 0.004, 0.02, loss=loss, tol=1e-8)
    cold = ufm.solve(COUNTS, 0.003, 0.02, loss=loss, tol=1e-8)
    warm = ufm.solve(COUNTS, 0.003, 0.02, loss=loss, tol=1e-8, method=method, start=near)
    assert warm.converged
    assert warm.objective == pytest.approx(cold.objective, rel=3e-8)


def test_warm_starts_refuse_other_losses_and_clusters():
    near = ufm.solve([5, 5, 3], 0.02, 0.02)
    smoothed = ufm.losses.label_smoothing(0.1)
    with pytest.raises(ValueError, match="start must have the same smoothing, scales and offsets"):
        ufm.solve([5, 5, 3], 0.02, 0.02, loss=smoothed, start=near)
    weighted = ufm.losses.inverse_frequency([5, 5, 3])
    assert ufm.solve([5, 5, 3], 0.02, 0.02, loss=weighted, start=near).converged
    loss = ufm.Loss(offsets=[0, 1, 0])
    other = ufm.solve([5, 5, 3], 0.02, 0.02, loss=loss)
    with pytest.raises(ValueError, match="start must group the classes into the same clusters"):
        ufm.solve([5, 3, 3], 0.02, 0.02, loss=loss, start=other)
