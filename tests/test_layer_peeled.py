"""The layer-peeled model: against CVXPY, a network's own variables, and its own certificate."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import ufm
from loss_problems import problem_of
from oracles.cvxpy_loss_oracle import solve_conic_loss
from oracles.loss_oracle import LossProblem
from profiles import examples

CONSTRAINTS = ("averaged", "total")


def oracle_of(solution: ufm.LayerPeeledSolution) -> LossProblem:
    """Return the constrained problem as the oracle has it, with the multiplier as lambda_z."""
    loss = solution.loss
    if solution.class_weights is not None:
        loss = ufm.Loss(
            smoothing=loss.smoothing,
            offsets=loss.offsets,
            scales=loss.scales,
            class_weights=solution.class_weights,
        )
    metric = np.ones(solution.num_classes) if solution.constraint == "averaged" else None
    return problem_of(solution.counts, solution.lambda_z, solution.lambda_b, loss, metric=metric)


def radius_of(solution: ufm.LayerPeeledSolution) -> float:
    K = solution.num_classes if solution.constraint == "averaged" else 1
    return K * math.sqrt(solution.energy_w * solution.energy_h)


def assert_certified(solution: ufm.LayerPeeledSolution, tol: float) -> None:
    """Recompute feasibility, objective and gap from Z and b in numpy."""
    problem, radius = oracle_of(solution), radius_of(solution)
    Z, b = solution.Z, solution.b
    assert solution.converged and solution.relative_gap <= tol, solution
    assert problem.nuclear_norm(Z) <= radius * (1 + 1e-12)
    value = problem.objective(Z, b) - problem.lambda_z * problem.nuclear_norm(Z)
    assert solution.objective == pytest.approx(value, rel=1e-9, abs=1e-15)
    assert solution.dual_objective <= solution.objective * (1 + 1e-12)
    if solution.lambda_b > 0:
        # A bound of its own at the final point. It is first order in the errors, the objective
        # second order, so that it is looser than the one reported.
        bound = problem.constrained_bound(Z, b, radius)
        assert bound <= solution.objective * (1 + 1e-11) + 1e-14
        assert solution.objective - bound <= 2e-2 * solution.objective + 1e-12


def energies_of(solution: ufm.LayerPeeledSolution, W, H) -> tuple[float, float]:
    per_class = (H**2).sum(axis=0)
    if solution.constraint == "averaged":
        return float((W**2).sum(axis=1).mean()), float(per_class.mean())
    return float((W**2).sum()), float(per_class @ solution.counts)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_agreement_with_clarabel(constraint, lambda_b, scale):
    counts = [40, 40, 9, 5, 5]
    if constraint == "total":
        scale *= 40
    solution = ufm.layer_peeled(
        counts, scale, 2 * scale, constraint=constraint, lambda_b=lambda_b, tol=1e-9
    )
    assert_certified(solution, 1e-9)
    conic = solve_conic_loss(oracle_of(solution), radius_of(solution))
    assert conic.status == "optimal"
    # Clarabel leaves the ball, and misses the optimum, by its own tolerances.
    assert conic.objective == pytest.approx(solution.objective, rel=2e-6, abs=2e-8)
    assert conic.objective >= solution.dual_objective * (1 - 1e-6) - 2e-8
    assert np.abs(conic.Z - solution.Z).max() < 1e-2


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize(
    "loss",
    [
        ufm.losses.label_smoothing(0.1),
        ufm.losses.vector_scaling([40, 40, 9, 5, 5], gamma=0.2, tau=1.0),
        ufm.losses.inverse_frequency([40, 40, 9, 5, 5]),
    ],
    ids=["smoothing", "vector scaling", "inverse frequency"],
)
def test_other_losses_agree_with_clarabel(constraint, loss):
    scale = 1.0 if constraint == "averaged" else 30.0
    solution = ufm.layer_peeled(
        [40, 40, 9, 5, 5],
        scale,
        scale,
        constraint=constraint,
        lambda_b=0.05,
        loss=loss,
        tol=1e-9,
    )
    assert_certified(solution, 1e-9)
    conic = solve_conic_loss(oracle_of(solution), radius_of(solution))
    assert conic.objective == pytest.approx(solution.objective, rel=2e-6)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_no_network_is_better(constraint):
    # The model as it is stated: W and one feature a sample, on the spheres where both energies
    # are used up; local descent from random starts.
    counts, energy_w, energy_h = [3, 2, 1], 2.0, 1.5
    if constraint == "total":
        energy_w, energy_h = 9.0, 12.0
    solution = ufm.layer_peeled(counts, energy_w, energy_h, constraint=constraint, tol=1e-9)
    label = np.repeat(np.arange(3), counts)
    if constraint == "averaged":
        share_w, share_h = 1 / 3, 1 / (3 * np.array(counts))[label]
    else:
        share_w, share_h = 1.0, np.ones(6)

    def parts(x):
        W, H = x[:9].reshape(3, 3), x[9:].reshape(3, 6)
        W = W * math.sqrt(energy_w / (share_w * (W**2).sum()))
        H = H * math.sqrt(energy_h / ((H**2).sum(axis=0) @ share_h))
        return W, H

    def loss(x):
        W, H = parts(x)
        logits = W @ H
        own = logits[label, np.arange(6)]
        return float((np.log(np.exp(logits - own).sum(axis=0))).mean())

    rng = np.random.default_rng(0)
    found = [minimize(loss, rng.standard_normal(27), method="BFGS").fun for _ in range(4)]
    assert min(found) >= solution.objective * (1 - 1e-9)
    assert min(found) == pytest.approx(solution.objective, rel=1e-5)
    # The factors reported reach the optimum and use both energies up.
    W, H = solution.factors()
    assert energies_of(solution, W, H) == pytest.approx((energy_w, energy_h), rel=1e-9)
    logits = (W @ H)[:, label]
    own = logits[label, np.arange(6)]
    value = np.log(np.exp(logits - own).sum(axis=0)).mean()
    assert value == pytest.approx(solution.objective, rel=1e-9)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_balanced_closed_form(constraint):
    # The whole radius goes to a simplex: Z = a (I - J/K), (K - 1) a sqrt(D) = radius.
    K, n = 6, 20
    for scale in (1e-6, 1e-2, 1.0, 30.0):
        solution = ufm.layer_peeled([n] * K, scale, scale, constraint=constraint, tol=1e-10)
        assert_certified(solution, 1e-10)
        radius = radius_of(solution)
        a = radius / ((K - 1) * (1.0 if constraint == "averaged" else math.sqrt(n)))
        expected = math.log1p((K - 1) * math.exp(-a))
        assert solution.objective == pytest.approx(expected, rel=1e-9)
        assert solution.Z == pytest.approx(a * (np.eye(K) - 1 / K), rel=1e-7)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_multiplier_is_the_slope(constraint):
    arguments = {"constraint": constraint, "lambda_b": 0.02, "tol": 1e-11}
    scale = 1.0 if constraint == "averaged" else 25.0
    counts = [40, 40, 9, 5, 5]
    middle = ufm.layer_peeled(counts, scale, scale, **arguments)
    ends = [ufm.layer_peeled(counts, scale * f, scale * f, **arguments) for f in (0.99, 1.01)]
    slope = (ends[1].objective - ends[0].objective) / (ends[1].radius - ends[0].radius)
    assert slope == pytest.approx(-middle.lambda_z, rel=1e-3)
    assert middle.lambda_w * middle.lambda_h == pytest.approx(middle.lambda_z**2)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_penalised_problem_is_found_again(constraint):
    # Penalised at lambda_z, then constrained to the norms it reached: the same Z, the same lambda.
    counts = np.array([300.0, 300.0, 50.0, 50.0, 20.0])
    if constraint == "total":
        loss, D, lambda_z = None, counts, 0.006
    else:
        loss, D, lambda_z = ufm.Loss(class_weights=counts * 5 / 720), np.ones(5), 0.05
    penalised = ufm.solve(D, lambda_z, 0.02, loss=loss, tol=1e-11)
    norm = np.linalg.svd(penalised.Z * np.sqrt(D), compute_uv=False).sum()
    energy = norm / (5 if constraint == "averaged" else 1)
    again = ufm.layer_peeled(
        counts, energy, energy, constraint=constraint, lambda_b=0.02, tol=1e-11
    )
    assert_certified(again, 1e-11)
    assert again.lambda_z == pytest.approx(lambda_z, rel=1e-3)
    assert again.Z == pytest.approx(penalised.Z, abs=1e-3)
    assert (again.collapsed == penalised.collapsed).all()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_collapse_follows_the_multiplier(constraint):
    counts = np.repeat([60.0, 12.0], 3)
    power = 1.0 if constraint == "averaged" else 0.5
    level = 12**power / counts.sum()
    verdicts = set()
    for energy in np.geomspace(0.05, 3.0, 12) * (1 if constraint == "averaged" else 60):
        solution = ufm.layer_peeled(counts, energy, energy, constraint=constraint, tol=1e-8)
        if abs(solution.lambda_z / level - 1) < 2e-3:
            continue
        merged = solution.lambda_z > level
        verdicts.add(merged)
        assert (solution.collapsed[3:] == merged).all()
        assert (solution.Z[3, 3] == solution.Z[3, 4]) == merged
    assert verdicts == {True, False}


@given(
    sizes=st.lists(st.integers(1, 400), min_size=2, max_size=8),
    constraint=st.sampled_from(CONSTRAINTS),
    exponent=st.floats(-4.0, 0.5),
    lambda_b=st.sampled_from([0.0, 0.02, 1.0, math.inf]),
    smoothing=st.sampled_from([0.0, 0.1]),
)
@examples(60)
def test_random_problems(sizes, constraint, exponent, lambda_b, smoothing):
    scale = 10**exponent * (1.0 if constraint == "averaged" else len(sizes) * min(sizes))
    solution = ufm.layer_peeled(
        sizes,
        scale,
        3 * scale,
        constraint=constraint,
        lambda_b=lambda_b,
        loss=ufm.Loss(smoothing=smoothing),
    )
    assert_certified(solution, 1e-6)
    W, H = solution.factors()
    assert pytest.approx(solution.Z, abs=1e-8 * (1 + np.abs(solution.Z).max())) == W @ H
    energies = energies_of(solution, W, H)
    assert energies[0] <= scale * (1 + 1e-9) and energies[1] <= 3 * scale * (1 + 1e-9)


def test_smoothed_labels_leave_energy_unused():
    solution = ufm.layer_peeled([30, 10, 10], 50.0, 50.0, loss=ufm.losses.label_smoothing(0.1))
    assert_certified(solution, 1e-6)
    # The unconstrained optimum: probabilities equal to the targets.
    log_odds = math.log((0.9 + 0.1 / 3) / (0.1 / 3))
    assert solution.Z == pytest.approx(log_odds * (np.eye(3) - 1 / 3), abs=2e-2)
    entropy = -sum(t * math.log(t) for t in (0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3))
    assert solution.objective == pytest.approx(entropy, rel=1e-6)
    assert solution.singular_values.sum() < 0.2 * solution.radius
    assert solution.lambda_z < 1e-3


def test_one_class_and_vanishing_objectives():
    single = ufm.layer_peeled([7], 1.0, 1.0)
    assert single.converged and single.objective == 0 and not single.Z.any()
    tiny = ufm.layer_peeled([50, 50, 5], 100.0, 100.0)
    assert tiny.converged and 0 < tiny.objective < 1e-60
    # Beyond the documented limit nothing is claimed.
    beyond = ufm.layer_peeled([50, 50, 5], 250.0, 250.0)
    assert beyond.status is ufm.Status.NUMERICAL_ERROR
    assert 0 <= beyond.objective < 1e-120 and beyond.dual_objective <= beyond.objective


def test_many_classes_cost_their_clusters():
    counts = np.repeat([1000, 100, 10], 20_000)
    solution = ufm.layer_peeled(counts, 20.0, 20.0)
    assert solution.converged and solution.num_classes == 60_000
    assert solution.column(0).shape == (60_000,)
    assert solution.entry(0, 0) == solution.column(0)[0] > solution.entry(1, 0)


def test_text_and_dict():
    loss = ufm.losses.label_smoothing(0.1)
    solution = ufm.layer_peeled([50, 50, 5, 5], 1.0, 1.0, loss=loss)
    for text in (repr(solution), solution.summary()):
        assert "CONVERGED" in text and "smoothing 0.1" in text and "averaged" in text
    data = json.loads(json.dumps(solution.to_dict()))
    assert data["K"] == 4 and data["status"] == "CONVERGED"
    assert data["relative_gap"] == solution.relative_gap


def test_limits_say_so():
    hard = ([70, 60, 20, 3], 1.0, 1.0)
    stopped = ufm.layer_peeled(*hard, tol=1e-10, max_solves=2)
    assert stopped.status is ufm.Status.MAX_ITERATIONS and not stopped.converged
    assert stopped.solves == 2 and stopped.relative_gap > 1e-10
    assert stopped.dual_objective <= ufm.layer_peeled(*hard, tol=1e-10).objective
    late = ufm.layer_peeled(*hard, tol=1e-10, time_limit=1e-9)
    assert late.status is ufm.Status.TIME_LIMIT

    calls = []

    def progress(solves, objective, gap):
        calls.append((solves, objective, gap))
        return len(calls) == 3

    seen = ufm.layer_peeled(*hard, tol=1e-10, progress=progress)
    assert seen.status is ufm.Status.INTERRUPTED and [c[0] for c in calls] == [1, 2, 3]
    assert calls[2][2] <= calls[1][2] <= calls[0][2]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (([], 1.0, 1.0), {}, ValueError, "counts"),
        (([1, 2], 0.0, 1.0), {}, ValueError, "energy_w must be positive and finite, got 0.0"),
        (([1, 2], 1.0, math.inf), {}, ValueError, "energy_h"),
        (([1, 2], 1.0, "1"), {}, TypeError, "energy_h"),
        (([1, 2], 1e308, 1e308), {}, ValueError, "energy_w"),
        (([1, 2], 1.0, 1.0), {"constraint": "sum"}, ValueError, "constraint must be one of"),
        (([1, 2], 1.0, 1.0), {"lambda_b": -1}, ValueError, "lambda_b"),
        (([1, 2], 1.0, 1.0), {"class_weights": [1]}, ValueError, "class_weights"),
        (([1, 2], 1.0, 1.0), {"loss": 3}, TypeError, "loss"),
        (([1, 2], 1.0, 1.0), {"tol": 0}, ValueError, "tol"),
        (([1, 2], 1.0, 1.0), {"method": "newton"}, ValueError, "method"),
        (
            ([1, 2], 1.0, 1.0),
            {"method": "continuum", "loss": ufm.losses.label_smoothing(0.1)},
            ValueError,
            "'continuum' knows",
        ),
        (([1, 2], 1.0, 1.0), {"max_solves": 0}, ValueError, "max_solves"),
        (([1, 2], 1.0, 1.0), {"threads": 0}, ValueError, "threads"),
        (([1, 2], 1.0, 1.0), {"time_limit": -1}, ValueError, "time_limit"),
        (([1, 2], 1.0, 1.0), {"progress": 1}, TypeError, "progress"),
    ],
)
def test_bad_input(arguments, options, error, text):
    with pytest.raises(error, match=text):
        ufm.layer_peeled(*arguments, **options)
