"""Two clusters: stated ratios, and every closed form against the solver on both sides."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ufm
from problems import biases
from profiles import examples

sizes_strategy = st.tuples(st.integers(1, 7), st.integers(1, 7))


def solve(sizes, counts, lambda_z, lambda_b, tol=1e-9):
    solution = ufm.solve(np.repeat(counts, sizes), lambda_z, lambda_b, tol=tol)
    assert solution.converged
    return solution


@pytest.mark.parametrize(
    ("sizes", "minority", "majority"),
    [((5, 5), 0.0033333, 0.0074536), ((3, 7), 0.0045455, 0.0101639)],
)
def test_stated_thresholds(sizes, minority, majority):
    found = ufm.two_cluster_thresholds(sizes, (500, 100), 0.02)
    assert found.minority_collapse == pytest.approx(minority, abs=5.1e-8)
    assert found.majority_collapse == pytest.approx(majority, abs=5.1e-8)
    assert found.lambda_max == found.majority_collapse
    assert found.ratio == 5


@pytest.mark.parametrize(
    ("sizes", "majority_count", "bias_only"), [((5, 5), 300.0, 0.003983), ((3, 7), 433.3, 0.006407)]
)
def test_stated_ratios(sizes, majority_count, bias_only):
    found = ufm.critical_ratios(sizes, 100, 0.005, 0.02)
    assert found.majority_count == pytest.approx(majority_count, abs=0.05)
    assert found.minority_collapse == pytest.approx(majority_count / 100, abs=5e-4)
    # r* is where the minority's threshold in lambda_z equals the given lambda_z.
    there = ufm.two_cluster_thresholds(sizes, (found.majority_count, 100), 0.02)
    assert there.minority_collapse == pytest.approx(0.005, rel=1e-12)
    # At ratio 5 the bias-only threshold in lambda_z is the stated one: the inverse finds 5.
    level = ufm.two_cluster_thresholds(sizes, (500, 100), 0.02).bias_only
    assert level == pytest.approx(bias_only, abs=5.1e-7)
    assert ufm.critical_ratios(sizes, 100, level, 0.02).bias_only == pytest.approx(5, rel=1e-9)


@given(
    sizes=sizes_strategy,
    minority_count=st.integers(1, 1000),
    ratio=st.floats(1.05, 100.0),
    lambda_b=biases(),
)
@examples(40)
def test_minority_collapse_in_the_ratio(sizes, minority_count, ratio, lambda_b):
    k_a, k_b = sizes
    assume(k_b > 1)
    lambda_z = 1 / (math.sqrt(minority_count) * (k_a * ratio + k_b))
    found = ufm.critical_ratios(sizes, minority_count, lambda_z, lambda_b)
    assert found.minority_collapse == pytest.approx(ratio, rel=1e-9)
    assert found.bias_only >= found.minority_collapse
    for factor, collapsed in ((0.999, False), (1.001, True)):
        counts = (factor * ratio * minority_count, float(minority_count))
        solution = solve(sizes, counts, lambda_z, lambda_b)
        assert solution.clusters[1].collapsed == collapsed


@given(
    sizes=sizes_strategy,
    minority_count=st.integers(1, 1000),
    ratio=st.floats(1.1, 100.0),
    lambda_b=biases(),
)
@examples(40)
def test_majority_collapse_in_the_ratio(sizes, minority_count, ratio, lambda_b):
    k_a, k_b = sizes
    assume(k_a > 1)
    majority_count = ratio * minority_count
    lambda_z = math.sqrt(majority_count) / (k_a * majority_count + k_b * minority_count)
    low, high = ufm.critical_ratios(sizes, minority_count, lambda_z, lambda_b).majority_separate
    other = k_b**2 / (k_a**2 * ratio)  # the product of both roots is (k_B / k_A)^2
    assume(abs(ratio / other - 1) > 0.1 and abs(other - 1) > 0.05)
    assert sorted((ratio, other)) == pytest.approx([low, high], rel=1e-6)
    for root in (low, high):
        if root < 1.05:  # A would be the minority
            continue
        for factor in (0.99, 1.01):
            r = factor * root
            solution = solve(sizes, (r * minority_count, float(minority_count)), lambda_z, lambda_b)
            assert solution.clusters[0].collapsed == (not low < r < high)


@given(
    sizes=sizes_strategy,
    minority_count=st.integers(1, 1000),
    log_lambda=st.floats(-3.0, -0.3),
    lambda_b=biases(),
)
@examples(40)
def test_bias_only_in_the_ratio(sizes, minority_count, log_lambda, lambda_b):
    lambda_z = 10**log_lambda / math.sqrt(minority_count)
    found = ufm.critical_ratios(sizes, minority_count, lambda_z, lambda_b)
    for factor in (1.0005, 1.5, 30.0):
        counts = (factor * found.bias_only * minority_count, float(minority_count))
        assert not solve(sizes, counts, lambda_z, lambda_b).column(-1).any()
    if found.bias_only > 1.05:
        counts = (0.99 * found.bias_only * minority_count, float(minority_count))
        assert np.abs(solve(sizes, counts, lambda_z, lambda_b).column(-1)).max() > 1e-7


@pytest.mark.parametrize(("k_a", "k_b"), [(5, 5), (2, 7), (6, 1)])
def test_free_bias_is_left_alone_at_a_fixed_multiple(k_a, k_b):
    # r -> infinity with lambda_b = 0: lambda_c N / sqrt(n_B) tends to sqrt(K / k_A) (derived).
    found = ufm.two_cluster_thresholds((k_a, k_b), (1e16, 1.0), 0.0)
    level = found.bias_only * (k_a * 1e16 + k_b)
    assert level == pytest.approx(math.sqrt((k_a + k_b) / k_a), rel=1e-3)


@pytest.mark.parametrize("lambda_b", [0.0, 1e-12, 0.02, math.inf])
@pytest.mark.parametrize("counts", [(1e12, 1.0), (1e6, 1e-6), (1e200, 1e190)])
def test_extreme_imbalance(counts, lambda_b):
    sizes = (3, 2)
    found = ufm.two_cluster_thresholds(sizes, counts, lambda_b)
    assert found.minority_collapse <= found.bias_only <= found.lambda_max
    assert not solve(sizes, counts, 1.001 * found.bias_only, lambda_b).column(-1).any()


def test_no_ratio_separates_the_majority_at_a_large_lambda():
    found = ufm.critical_ratios((4, 4), 100, 0.2, 0.02)
    assert all(math.isnan(r) for r in found.majority_separate)
    assert found.minority_collapse < 1 and found.bias_only == 1
    assert not solve((4, 4), (150.0, 100.0), 0.2, 0.02).Z.any()


def test_single_classes_have_no_collapse():
    found = ufm.critical_ratios((1, 1), 100, 0.01, 0.02)
    assert math.isnan(found.minority_collapse) and math.isnan(found.majority_separate[0])
    thresholds = ufm.two_cluster_thresholds((1, 1), (200, 100), 0.02)
    assert math.isnan(thresholds.minority_collapse)
    assert thresholds.bias_only == thresholds.lambda_max


@pytest.mark.parametrize(
    ("exponent", "coefficient", "minority", "majority"),
    [
        (0.0, 0.003, True, True),
        (0.4, 0.3, True, True),
        (0.5, 0.46, True, True),  # c^2 k_A = 1.06
        (0.5, 0.43, True, False),  # c^2 k_A = 0.92
        (0.7, 1.0, True, False),
        (1.0, 5.05, True, False),  # sqrt(n_B) = 5
        (1.0, 4.95, False, False),
        (1.2, 60.0, False, False),
    ],
)
def test_limit_of_extreme_imbalance(exponent, coefficient, minority, majority):
    sizes, n_b = (5, 4), 25.0
    found = ufm.imbalance_limit(sizes, n_b, coefficient, exponent)
    assert (found.minority_collapses, found.majority_collapses) == (minority, majority)
    turn = found.minority_turns_at
    far = 1e7 if math.isnan(turn) else 1e3 * max(turn, 1e4)
    for ratio, expected in ((far, minority), (0.9 * turn, not minority), (1.1 * turn, minority)):
        if not ratio >= 1.05:
            continue
        counts = (ratio * n_b, n_b)
        lambda_z = coefficient * (sizes[0] * counts[0] + sizes[1] * counts[1]) ** -exponent
        solution = ufm.solve(np.repeat(counts, sizes), lambda_z, 0.02, tol=1e-4)
        assert solution.clusters[1].collapsed == expected
        if ratio == far:
            assert solution.clusters[0].collapsed == majority


def test_text_and_plain_values():
    for found in (
        ufm.two_cluster_thresholds((1, 2), (9, 4), 0.02),
        ufm.critical_ratios((1, 2), 4, 0.02, 0.02),
        ufm.imbalance_limit((1, 2), 4, 1.0, 1.0),
    ):
        told = json.dumps(found.to_dict(), allow_nan=False)
        assert json.loads(told)["sizes"] == [1, 2]
        assert found.summary()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ufm.two_cluster_thresholds((5,), (2, 1), 0.1), "sizes"),
        (lambda: ufm.two_cluster_thresholds((5, 0), (2, 1), 0.1), "sizes"),
        (lambda: ufm.two_cluster_thresholds((5, 5), (1, 2), 0.1), "counts"),
        (lambda: ufm.critical_ratios((5, 5), -1, 0.1, 0.1), "minority_count"),
        (lambda: ufm.critical_ratios((5, 5), 1, 1e-200, 0.1), "lambda_z"),
        (lambda: ufm.imbalance_limit((5, 5), 1, 0.0, 0.1), "coefficient"),
        (lambda: ufm.imbalance_limit((5, 5), 1, 1.0, math.inf), "exponent"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_no_negative_ratio_where_the_minority_merges_at_any():
    found = ufm.critical_ratios((5, 5), 100, 0.05, 0.02)
    assert found.minority_collapse == 0.0
    assert found.majority_count == 0.0
