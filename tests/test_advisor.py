"""Advice: verdicts against solves, recommendations that are minimal, the soft-collapse index."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import biases, counts_tuples
from profiles import examples

LAMBDA_B = 0.02
FIVE_FIVE = [500] * 5 + [100] * 5
THREE_SEVEN = [500] * 3 + [100] * 7
# 0.2 % beyond a recommendation made with this margin lies beyond the threshold itself.
MARGIN = 2e-4


def merged(counts, lambda_z, which, class_weights=None, method="proximal"):
    """Return how many of some classes merge, by the method that does not use the thresholds."""
    solution = ufm.solve(
        counts, lambda_z, LAMBDA_B, class_weights=class_weights, method=method, tol=1e-8
    )
    assert solution.converged
    Z = solution.Z
    others = [
        min(np.abs(Z[:, k] - Z[:, j]).max() for j in which if j != k and counts[j] == counts[k])
        for k in which
    ]
    return sum(distance < 1e-9 for distance in others)


# ---------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("counts", [FIVE_FIVE, THREE_SEVEN])
def test_known_thresholds(counts):
    at = ufm.advise(counts, lambda_z=0.005, lambda_b=LAMBDA_B)
    majority, minority = at.clusters
    thresholds = [numpy_oracle.collapse_threshold(n, sum(counts)) for n in (500, 100)]
    assert [majority.threshold, minority.threshold] == pytest.approx(thresholds, rel=1e-14)
    assert majority.ratio == pytest.approx(0.005 / thresholds[0])
    assert (majority.merged, minority.merged) == (False, True)
    assert at.merging_count == pytest.approx((0.005 * sum(counts)) ** 2)
    assert at.largest_lambda_z == pytest.approx(thresholds[1] / 1.05, rel=1e-12)
    assert at.confirmed


@pytest.mark.parametrize(("k_a", "stated"), [(5, 0.003983), (3, 0.006407)])
def test_bias_only_starts_at_the_second_threshold(k_a, stated):
    counts = [500] * k_a + [100] * (10 - k_a)
    for factor, expected in ((0.995, False), (1.005, True)):
        advice = ufm.advise(counts, lambda_z=factor * stated, lambda_b=LAMBDA_B)
        assert [cluster.bias_only for cluster in advice.clusters] == [False, expected]
        assert advice.clusters[1].merged


def test_everything_collapses_above_lambda_max():
    advice = ufm.advise(FIVE_FIVE, lambda_z=0.0075, lambda_b=LAMBDA_B)
    assert all(cluster.bias_only and cluster.merged for cluster in advice.clusters)
    assert advice.everything_collapsed and "Everything collapses" in advice.verdict
    assert advice.lambda_max == pytest.approx(numpy_oracle.lambda_max(FIVE_FIVE, LAMBDA_B))
    assert not ufm.advise(FIVE_FIVE, lambda_z=0.0074, lambda_b=LAMBDA_B).everything_collapsed


def test_lambda_max_of_thousands_of_sizes():
    counts = np.arange(1.0, 2051.0)
    lambda_z = 0.9 * math.sqrt(2050) / counts.sum()
    advice = ufm.advise(counts, lambda_z=lambda_z, lambda_b=LAMBDA_B)
    assert advice.lambda_max == ufm.thresholds(counts, LAMBDA_B).lambda_max > lambda_z
    assert not advice.everything_collapsed


def test_nothing_to_do():
    advice = ufm.advise(FIVE_FIVE, lambda_z=0.002, lambda_b=LAMBDA_B)
    assert not advice.merged.any()
    assert "No classes merge" in advice.verdict
    plan = advice.oversampling
    assert plan.feasible and not plan.needed and plan.added == 0
    assert not advice.weights.needed
    assert (advice.weights.plain == 1).all() and (advice.weights.normalised == 1).all()
    assert [check.name for check in advice.checks] == ["as given", "largest lambda_z"]
    assert all(cluster.factor_alone == 1 for cluster in advice.clusters)


def test_separate_but_short_of_the_margin():
    lambda_z = 0.98 * 10 / 3000
    advice = ufm.advise(FIVE_FIVE, lambda_z=lambda_z, lambda_b=LAMBDA_B)
    assert not advice.merged.any()
    assert advice.oversampling.needed and advice.weights.needed
    assert not ufm.advise(
        FIVE_FIVE, lambda_z=lambda_z, lambda_b=LAMBDA_B, margin=0.01
    ).oversampling.needed


def test_single_sizes_have_nothing_to_merge_with():
    advice = ufm.advise([500, 300, 100, 20], lambda_z=0.006, lambda_b=LAMBDA_B)
    assert not advice.merged.any()
    assert math.isinf(advice.largest_lambda_z)
    assert advice.largest_weight_decay is None
    assert advice.oversampling.feasible and not advice.oversampling.needed
    assert "same size" in advice.verdict and "soft-collapse index" in advice.verdict
    whole = ufm.advise([500, 300, 100, 20], lambda_z=0.006, lambda_b=LAMBDA_B, protect="all")
    assert whole.largest_lambda_z == pytest.approx(math.sqrt(20) / 920 / 1.05)
    assert whole.oversampling.needed


def test_one_class():
    advice = ufm.advise([7], lambda_z=0.1, lambda_b=LAMBDA_B)
    assert "single class" in advice.verdict
    assert math.isnan(advice.clusters[0].soft_collapse)
    assert str(advice) and advice.html() and json.dumps(advice.to_dict(), allow_nan=False)


# ---------------------------------------------------------------------- minimal and sufficient


@pytest.mark.parametrize("counts", [FIVE_FIVE, THREE_SEVEN, [900] * 2 + [90] * 3 + [80] * 2 + [9]])
@pytest.mark.parametrize("penalty", ["sum", "mean"])
def test_oversampling_is_just_enough(counts, penalty):
    counts = np.array(counts) + 0.5  # real counts: no rounding
    tied = [k for k in range(counts.size) if (counts == counts[k]).sum() > 1]
    lambda_z = 1.04 * math.sqrt(counts[tied].min()) / counts.sum()
    advice = ufm.advise(
        counts, lambda_z=lambda_z, lambda_b=LAMBDA_B, feature_penalty=penalty, margin=MARGIN
    )
    assert advice.confirmed and advice.oversampling.needed
    level = advice.oversampling.level
    for factor, expected in ((1.0, 0), (0.998, None)):
        raised = advice.oversampling.samples > counts
        samples = np.where(raised, factor * level, counts)
        at = advice.penalties.at(samples.sum())
        found = merged(samples, at, np.flatnonzero(raised))
        assert found == (raised.sum() if expected is None else expected)


@pytest.mark.parametrize("multiple", [1.04, 1.5])
@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_class_weights_are_just_enough(kind, multiple):
    counts = np.array(FIVE_FIVE, float)
    lambda_z = multiple * 10 / 3000
    advice = ufm.advise(counts, lambda_z=lambda_z, lambda_b=LAMBDA_B, margin=MARGIN)
    minority = range(5, 10)
    weights = getattr(advice.weights, kind)
    assert weights[0] == 1 and weights[5] > 1
    for factor, expected in ((1.0, 0), (0.998, 5)):
        changed = np.where(counts < 200, factor * weights, weights)
        if kind == "normalised":
            changed = changed * counts.sum() / (changed * counts).sum()
        assert merged(counts, lambda_z, minority, changed) == expected


def test_normalised_weights_keep_the_majority_apart_too():
    # Each threshold of the minority is bought from the majority: both end on their margin.
    counts = np.array(FIVE_FIVE, float)
    limit = 1 / np.sqrt(counts).sum()
    advice = ufm.advise(
        counts, lambda_z=0.99 * limit / (1 + MARGIN), lambda_b=LAMBDA_B, margin=MARGIN
    )
    weights = advice.weights.normalised
    effective = weights * counts.sum() / (weights * counts).sum()
    assert merged(counts, advice.lambda_z, range(10), effective) == 0


def test_largest_lambda_z_is_the_largest():
    advice = ufm.advise(FIVE_FIVE, lambda_z=0.004, lambda_b=LAMBDA_B, margin=MARGIN)
    for factor, expected in ((1.0, 0), (1.002, 5)):
        assert merged(FIVE_FIVE, factor * advice.largest_lambda_z, range(5, 10)) == expected


def test_factor_for_one_size():
    counts = np.repeat([5000.5, 60.5, 50.5], [3, 3, 2])
    lambda_z = 1.2 * math.sqrt(50.5) / counts.sum()
    advice = ufm.advise(counts, lambda_z=lambda_z, lambda_b=LAMBDA_B, margin=MARGIN)
    for cluster in advice.clusters[1:]:
        for factor, expected in ((1.0, 0), (0.998, cluster.multiplicity)):
            samples = counts.copy()
            samples[cluster.classes] = factor * cluster.samples_alone
            assert merged(samples, lambda_z, cluster.classes) == expected


def test_infeasible_oversampling_says_what_would_work():
    advice = ufm.advise(FIVE_FIVE, lambda_z=0.0051, lambda_b=LAMBDA_B, margin=MARGIN)
    plan = advice.oversampling
    assert plan.needed and not plan.feasible
    assert plan.level is None and plan.samples is None and plan.added is None
    assert advice.clusters[1].factor is None and advice.clusters[1].factor_alone is None
    assert plan.best_level == 500  # balanced: sqrt(500) / 5000
    assert plan.limit_lambda_z == pytest.approx(math.sqrt(500) / 5000 / (1 + MARGIN), rel=1e-12)
    minority = range(5, 10)
    assert merged(plan.best_samples, plan.best_lambda_z, range(10)) == 0
    # Whatever the level, classes merge beyond the limit.
    for level in (120, 250, 499, 501, 1000, 5000):
        samples = np.maximum(FIVE_FIVE, level)
        assert merged(samples, 1.002 * plan.limit_lambda_z, minority) == 5
    assert any("best oversampling" in check.name for check in advice.checks)
    assert "impossible" in str(advice)
    assert advice.weights.normalised is not None and advice.confirmed


def test_a_mean_penalty_is_told_apart_from_a_sum():
    common = {"lambda_b": LAMBDA_B, "margin": MARGIN}
    lambda_z = 0.0051
    both = [
        ufm.advise(FIVE_FIVE, lambda_z=lambda_z, feature_penalty=penalty, **common)
        for penalty in ("sum", "mean")
    ]
    assert both[0].solution.objective == both[1].solution.objective
    assert not both[0].oversampling.feasible
    assert both[1].oversampling.feasible  # a class's part of the samples is what counts
    share = (lambda_z * (1 + MARGIN)) ** 2 * 3000
    samples = both[1].oversampling.samples
    assert samples[5] / samples.sum() == pytest.approx(share, rel=2e-3)
    assert samples[5] / samples.sum() >= share


# ---------------------------------------------------------------------- decays


def test_decays():
    given_lambda = ufm.advise(FIVE_FIVE, lambda_z=0.004, lambda_b=LAMBDA_B)
    by_sum = ufm.advise(FIVE_FIVE, weight_decay=0.002, feature_decay=0.008, lambda_b=LAMBDA_B)
    by_mean = ufm.advise(
        FIVE_FIVE,
        weight_decay=0.002,
        feature_decay=0.008 * 3000,
        feature_penalty="mean",
        lambda_b=LAMBDA_B,
    )
    for advice in (by_sum, by_mean):
        assert advice.lambda_z == pytest.approx(0.004, rel=1e-14)
        assert advice.penalties.lambda_h == pytest.approx(0.008, rel=1e-14)
        assert advice.solution.objective == pytest.approx(given_lambda.solution.objective)
        # With this weight decay and the same feature decay lambda_z is the largest allowed.
        again = math.sqrt(advice.largest_weight_decay * 0.008)
        assert again == pytest.approx(advice.largest_lambda_z, rel=1e-14)
    assert given_lambda.largest_weight_decay is None


# ---------------------------------------------------------------------- soft-collapse index


def dense_index(solution, k, j):
    """The index of two classes from the dense matrix."""
    logits = solution.Z + solution.b[:, None]
    P = np.exp(logits - logits.max(axis=0))
    P /= P.sum(axis=0)
    return 1 - min(max((P[k, k] - P[k, j] + P[j, j] - P[j, k]) / 2, 0.0), 1.0)


@examples(40)
@given(
    counts=counts_tuples(max_classes=15, max_count=10**4, max_distinct=8),
    lambda_b=biases(),
    multiple=st.floats(0.1, 3.0),
)
def test_index_against_dense_predictions(counts, lambda_b, multiple):
    lambda_z = multiple * math.sqrt(min(counts)) / sum(counts)
    advice = ufm.advise(
        counts, lambda_z=lambda_z, lambda_b=lambda_b, cluster_checks=0, protect="tied"
    )
    n = np.array(counts)
    for k in range(n.size):
        distance = np.abs(np.log(n) - np.log(n[k]))
        distance[k] = np.inf
        nearest = distance.min()
        candidates = np.flatnonzero(distance <= nearest * (1 + 1e-12) + 1e-15)
        allowed = [dense_index(advice.solution, k, j) for j in candidates]
        assert 0 <= advice.soft_collapse[k] <= 1
        assert np.abs(np.array(allowed) - advice.soft_collapse[k]).min() < 1e-9
        if nearest == 0:
            ratio = lambda_z * n.sum() / math.sqrt(n[k])
            assert advice.soft_collapse[k] == pytest.approx(min(ratio, 1.0), abs=1e-9)
    for cluster in advice.clusters:
        k = cluster.classes[0]
        assert cluster.prediction_norm == pytest.approx(
            np.linalg.norm(advice.solution.Z[:, k]), rel=1e-6, abs=1e-7
        )


@pytest.mark.parametrize("fraction", [0.3, 0.9, 0.999, 1.001, 1.3])
def test_index_tends_to_that_of_equal_counts(fraction):
    base = [500.0] * 5 + [100.0] * 3
    lambda_z = fraction * 10 / (sum(base) + 200)
    differences = []
    for gap in (10.0, 1.0, 0.1, 0.01):
        advice = ufm.advise(
            [*base, 100.0 + gap, 100.0 + 3 * gap], lambda_z=lambda_z, lambda_b=LAMBDA_B, tol=1e-9
        )
        differences.append(abs(advice.soft_collapse[-1] - min(fraction, 1.0)))
    assert differences[-1] < 1e-3
    assert differences[-1] < differences[0] / 5 or differences[0] < 1e-6


def test_index_is_continuous_across_the_threshold():
    counts = [500.0] * 5 + [101.0, 100.0, 99.0]
    N = sum(counts)
    lambdas = np.linspace(0.98, 1.04, 25) * 10 / N
    index = [
        ufm.advise(counts, lambda_z=z, lambda_b=LAMBDA_B, tol=1e-9).soft_collapse[-3:]
        for z in lambdas
    ]
    steps = np.diff(np.array(index), axis=0)
    assert (steps > -1e-6).all()  # it rises with lambda_z
    assert steps.max() < 0.01
    assert np.max(index) <= 1 and np.min(index) > 0.95


def test_index_vanishes_with_lambda_z():
    advice = ufm.advise([500, 300, 100, 20, 20], lambda_z=1e-7, lambda_b=LAMBDA_B)
    assert advice.soft_collapse.max() < 1e-3


# ---------------------------------------------------------------------- interface


@examples(40)
@given(
    counts=counts_tuples(max_classes=20, max_count=10**4, max_distinct=6),
    lambda_b=biases(),
    multiple=st.floats(0.2, 4.0),
    protect=st.sampled_from(["tied", "all"]),
    penalty=st.sampled_from(["sum", "mean"]),
)
def test_every_recommendation_is_confirmed(counts, lambda_b, multiple, protect, penalty):
    lambda_z = multiple * math.sqrt(min(counts)) / sum(counts)
    advice = ufm.advise(
        counts,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        protect=protect,
        feature_penalty=penalty,
        tol=1e-5,
    )
    assert advice.unchecked == 0
    for check in advice.checks:
        assert check.status == "CONVERGED" and check.confirmed, check
        if check.name != "as given" and protect == "tied" and check.soft_collapse is not None:
            assert check.soft_collapse <= 1 / 1.05 + 1e-9
    n = np.array(counts)
    ratio = lambda_z * n.sum() / np.sqrt(n)
    shared = np.array([counts.count(c) > 1 for c in counts])
    clear = np.abs(ratio - 1) > 1e-12
    assert (advice.merged == (shared & (ratio >= 1)))[clear].all()
    assert str(advice)
    json.dumps(advice.to_dict(), allow_nan=False)


def test_order_of_classes_is_kept():
    counts = [100, 500, 100, 500, 500, 7]
    advice = ufm.advise(counts, lambda_z=0.007, lambda_b=LAMBDA_B)
    assert [c.classes.tolist() for c in advice.clusters] == [[1, 3, 4], [0, 2], [5]]
    assert advice.merged.tolist() == [True, False, True, False, False, False]
    samples = advice.oversampling.samples
    assert samples is not None and samples[1] == 500 and samples[0] > 100 and samples[5] == 7


def test_the_json_record_is_complete():
    names = [f"c{k}" for k in range(10)]
    advice = ufm.advise(FIVE_FIVE, lambda_z=0.0035, lambda_b=math.inf, names=names)
    record = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert record["lambda_b"] == "inf"
    assert (record["K"], record["N"], record["merged_classes"]) == (10, 3000, 5)
    assert record["names"] == names and len(record["counts"]) == 10
    assert [c["classes"] for c in record["clusters"]] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert record["oversampling"]["samples"] == advice.oversampling.samples.tolist()
    assert record["weights"]["normalised"] == advice.weights.normalised.tolist()
    assert record["confirmed"] is True
    assert {"name", "confirmed", "relative_gap", "lambda_z"} <= set(record["checks"][0])
    for part in ("verdict", "margin", "protect", "merging_count", "largest_lambda_z", "solution"):
        assert part in record


def test_cluster_checks_limit_the_solves():
    counts = np.repeat(np.arange(10, 40), 2)
    common = {"lambda_z": 1.6 * math.sqrt(10) / counts.sum(), "lambda_b": LAMBDA_B}
    every = ufm.advise(counts, **common)
    some = ufm.advise(counts, cluster_checks=3, **common)
    none = ufm.advise(counts, cluster_checks=0, **common)
    assert every.unchecked == 0
    assert len(every.checks) - len(none.checks) == none.unchecked
    assert len(some.checks) - len(none.checks) == 3
    assert some.unchecked == none.unchecked - 3


def test_progress_is_told_of_every_solve():
    seen = []
    advice = ufm.advise(
        FIVE_FIVE, lambda_z=0.0035, lambda_b=LAMBDA_B, progress=lambda *step: seen.append(step)
    )
    assert [name for _, _, name in seen] == [check.name for check in advice.checks]
    assert [done for done, _, _ in seen] == list(range(len(seen)))
    assert {total for _, total, _ in seen} == {len(seen)}


def test_a_solve_that_does_not_converge_is_not_a_confirmation():
    counts = np.repeat([500, 120, 20], 2)
    advice = ufm.advise(counts, lambda_z=0.003, lambda_b=LAMBDA_B, tol=1e-300, cluster_checks=0)
    assert not advice.confirmed
    assert "NOT confirmed" in repr(advice) and "NOT confirmed" in str(advice)
    assert "NO (" in advice.html(pictures=False)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"counts": []}, ValueError, "counts"),
        ({"counts": [5, -1]}, ValueError, "counts"),
        ({"lambda_z": None}, ValueError, "weight_decay and feature_decay are missing"),
        ({"lambda_z": None, "weight_decay": 0.1}, ValueError, "feature_decay is missing"),
        ({"weight_decay": 0.1}, ValueError, "lambda_z and weight_decay exclude"),
        ({"feature_decay": 0.1}, ValueError, "lambda_z and feature_decay exclude"),
        ({"lambda_z": 0}, ValueError, "lambda_z"),
        ({"lambda_z": "1"}, TypeError, "lambda_z"),
        ({"lambda_z": None, "weight_decay": -1, "feature_decay": 1}, ValueError, "weight_decay"),
        ({"lambda_z": None, "weight_decay": 1, "feature_decay": 0}, ValueError, "feature_decay"),
        ({"feature_penalty": "median"}, ValueError, "feature_penalty"),
        ({"lambda_b": -1}, ValueError, "lambda_b"),
        ({"margin": 0}, ValueError, "margin"),
        ({"margin": math.inf}, ValueError, "margin"),
        ({"protect": "none"}, ValueError, "protect"),
        ({"protect": None}, TypeError, "protect"),
        ({"names": ["a"]}, ValueError, "names"),
        ({"names": [1] * 10}, TypeError, "names"),
        ({"names": "abcdefghij"}, TypeError, "names"),
        ({"tol": 0}, ValueError, "tol"),
        ({"cluster_checks": -1}, ValueError, "cluster_checks"),
        ({"cluster_checks": 1.5}, TypeError, "cluster_checks"),
        ({"threads": 0}, ValueError, "threads"),
        ({"progress": 3}, TypeError, "progress"),
    ],
)
def test_bad_input(changes, error, words, monkeypatch):
    import ufm.planning._checks as checks

    monkeypatch.setattr(checks, "solve", lambda *a, **k: pytest.fail("solved before the check"))
    arguments = {"counts": FIVE_FIVE, "lambda_z": 0.004, "lambda_b": LAMBDA_B, **changes}
    counts = arguments.pop("counts")
    with pytest.raises(error, match=words):
        ufm.advise(counts, **arguments)
