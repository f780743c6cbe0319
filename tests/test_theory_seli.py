"""The limits lambda_z -> 0 and n -> infinity, against dense algebra and against the solver."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ufm
from problems import biases, counts_tuples
from profiles import examples

COUNTS = np.repeat([500.0, 250.0, 17.0, 900.0], [5, 3, 2, 1])
DISTINCT = np.array([900.0, 40.0, 333.0, 5.0])


def dense_limit(counts, unregularised_bias):
    """Direction, polar factor and singular values, from K x K arrays."""
    size = counts.size
    share = counts / counts.sum() if unregularised_bias else np.full(size, 1 / size)
    direction = np.eye(size) - share[:, None]
    U, S, Vt = np.linalg.svd(direction * np.sqrt(counts))
    return direction, U[:, :-1] @ Vt[:-1], S


def entries(matrix):
    return matrix[~np.isnan(matrix)]


@given(counts=counts_tuples(max_classes=25), lambda_b=st.sampled_from([0.0, 0.01, math.inf]))
@examples(40)
def test_matches_dense_algebra(counts, lambda_b):
    counts = np.array(counts)
    limit = ufm.seli(counts, lambda_b=lambda_b)
    direction, polar, S = dense_limit(counts, lambda_b == 0)
    assert limit.direction.dense() == pytest.approx(direction, abs=1e-14)
    assert limit.polar.dense() == pytest.approx(polar, abs=1e-9)
    assert limit.singular_values == pytest.approx(S, abs=1e-10 * S[0])
    U, S, Vt = limit.svd()
    assert (U * S) @ Vt == pytest.approx(direction * np.sqrt(counts), abs=1e-11 * S[0])
    # The limit is one of vanishing probabilities: all off-diagonal entries of Q are negative.
    assert (limit.polar.between[~np.isnan(limit.polar.between)] < 0).all()
    w, h = (U * S) @ U.T, (Vt.T * S) @ Vt / np.sqrt(np.outer(counts, counts))
    assert limit.classifier.dense() == pytest.approx(w, abs=1e-10 * np.abs(w).max())
    assert limit.class_means.dense() == pytest.approx(h, abs=1e-10 * np.abs(h).max())


@pytest.mark.parametrize("counts", [COUNTS, DISTINCT], ids=["clusters", "distinct"])
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_approach_is_at_rate_one_over_log(counts, lambda_b, weighted):
    weights = 1 + np.sqrt(counts) / 10 if weighted else None
    limit = ufm.seli(counts, lambda_b=lambda_b, class_weights=weights)
    ends = {"columns": limit.cosines("columns"), "rows": limit.cosines("rows")}
    errors = []
    for lambda_z in (1e-35, 1e-70, 1e-140):
        solution = ufm.solve(counts, lambda_z, lambda_b, class_weights=weights)
        assert solution.converged
        log = -math.log(lambda_z)
        P = ufm.confusion(solution).probability.between
        error = [
            np.abs(entries(P / limit.wrong_probability(lambda_z).between) - 1).max(),
            abs(limit.distance(solution) * log / limit.rate - 1),
            np.abs(solution.Z - limit.prediction(lambda_z).dense()).max(),
        ]
        for of, end in ends.items():
            found = ufm.prediction_cosines(solution, of)
            rate = limit.cosine_rate(of)
            scale = np.abs(entries(rate)).max()
            error.append(np.abs(entries((found.between - end.between) * log - rate)).max() / scale)
            second = found.between - limit.predicted_cosines(lambda_z, of).between
            error.append(np.abs(entries(second)).max() * log)
        errors.append(error)
    errors = np.array(errors)
    # First order: doubling the logarithm halves every error.
    ratios = errors[1:] / errors[:-1]
    assert ratios[0].max() < 0.62 and ratios[1].max() < 0.59
    assert errors[-1, 0] < 0.2 and errors[-1, 1] < 0.05


@given(counts=counts_tuples(max_classes=12, max_count=1000), lambda_b=biases())
@examples(30)
def test_direction_is_approached(counts, lambda_b):
    # A cluster alone has a closed form, in which the direction holds at once.
    limit = ufm.seli(counts, lambda_b=lambda_b)
    angles = []
    for lambda_z in (1e-8, 1e-30, 1e-90):
        solution = ufm.solve(counts, lambda_z, lambda_b)
        assert solution.converged
        angles.append(limit.distance(solution))
    Z, D = solution.Z, limit.direction.dense()
    cosine = np.sum(Z * D) / np.linalg.norm(Z) / np.linalg.norm(D)
    assert math.cos(angles[-1]) == pytest.approx(cosine, abs=1e-12)
    if len(set(counts)) == 1:
        assert max(angles) < 1e-7
    else:
        assert angles[2] < 0.6 * angles[1] + 1e-7


def test_zero_is_at_a_right_angle():
    limit = ufm.seli([5, 5, 2])
    assert limit.distance(ufm.solve([5, 5, 2], 10.0, 0.02)) == math.pi / 2
    with pytest.raises(ValueError, match="solution"):
        limit.distance(ufm.solve([5, 2, 5], 0.01, 0.02))
    weighted = ufm.solve([5, 5, 2], 0.01, 0.02, class_weights=[1, 2, 1])
    with pytest.raises(ValueError, match="class_weights"):
        limit.distance(weighted)
    assert ufm.seli([5, 5, 2], class_weights=[1, 2, 1]).distance(weighted) < 1
    with pytest.raises(TypeError, match="solution"):
        limit.distance(np.eye(3))


def test_many_classes_cost_no_more():
    counts = np.repeat([500, 100, 7], 100_000)
    limit = ufm.seli(counts)
    assert limit.wrong_probability(1e-9).own == pytest.approx(1, abs=3e-2)
    assert limit.distance(ufm.solve(counts, 1e-12, 0.01)) < 0.2
    assert limit.cosines().within == pytest.approx(-1 / (counts.size - 1), rel=1e-6)


# ---------------------------------------------------------------------- many samples


@given(
    counts=counts_tuples(max_classes=10, max_count=1000),
    lambda_b=biases(),
    log_scale=st.floats(-2, 4),
    fraction=st.floats(0.01, 1.1),
)
@examples(40)
def test_scaling_the_counts_scales_lambda_z(counts, lambda_b, log_scale, fraction):
    scale = 10**log_scale
    lambda_z = fraction * ufm.thresholds(counts, lambda_b).lambda_max
    at = [cluster.collapse / lambda_z for cluster in ufm.thresholds(counts, lambda_b).clusters]
    assume(all(abs(ratio - 1) > 1e-9 for ratio in at))  # there rounding decides
    small = ufm.solve(counts, lambda_z, lambda_b, tol=1e-10)
    scaled = np.array(counts) * scale
    large = ufm.solve(scaled, lambda_z / math.sqrt(scale), lambda_b, tol=1e-10)
    assert large.objective == pytest.approx(small.objective, rel=1e-9)
    assert (large.collapsed == small.collapsed).all()
    assert large.Z == pytest.approx(small.Z, abs=2e-3)


@pytest.mark.parametrize("of", ["columns", "rows"])
def test_more_samples_turn_the_cosines_to_the_simplex(of):
    counts, c = np.repeat([500.0, 250.0], 5), 0.1
    limit = ufm.large_sample_limit(counts, c)
    assert limit.limit.cosines(of).between == pytest.approx(np.full((2, 2), -1 / 9), abs=1e-12)
    errors, rests = [], []
    for scale in (1e20, 1e40, 1e80):
        scaled = counts * scale
        solution = ufm.solve(scaled, c / scaled.sum(), 0.02)
        assert solution.converged
        found = ufm.prediction_cosines(solution, of).between
        errors.append(np.abs(found - limit.cosines(scale, of).between).max())
        rest = (found + 1 / 9) * math.log(scale) - limit.cosine_rate(of)
        rests.append(np.abs(rest).max() / np.abs(limit.cosine_rate(of)).max())
    # The prediction is second order in 1 / log; the rate alone is first order.
    assert errors[1] < 0.37 * errors[0] and errors[2] < 0.31 * errors[1] and errors[2] < 1e-3
    assert rests[1] < 0.7 * rests[0] and rests[2] < 0.62 * rests[1] and rests[2] < 0.3


@pytest.mark.parametrize("lambda_b", [0.0, 0.02, math.inf])
def test_more_samples_at_fixed_lambda_z_end_in_zero(lambda_b):
    counts = np.repeat([50.0, 10.0, 3.0], [3, 4, 1])
    lambda_z = 1e-4
    found = ufm.sample_scales(counts, lambda_z, lambda_b)
    for factor, zero in ((0.98, False), (1.001, True)):
        solution = ufm.solve(counts * factor * found.vanishing, lambda_z, lambda_b, tol=1e-9)
        assert solution.converged
        assert (not solution.Z.any()) == zero
    minority = found.clusters[1]
    for factor, collapsed in ((0.998, False), (1.002, True)):
        solution = ufm.solve(counts * factor * minority.collapse, lambda_z, lambda_b)
        assert solution.clusters[1].collapsed == collapsed
    for factor, zero in ((0.98, False), (1.002, True)):
        solution = ufm.solve(counts * factor * minority.bias_only, lambda_z, lambda_b, tol=1e-10)
        assert (np.abs(solution.column(3)).max() < 1e-5) == zero


def test_text_and_plain_values():
    for found in (
        ufm.seli([5, 5, 2], lambda_b=0),
        ufm.large_sample_limit([5, 5, 2], 0.1),
        ufm.sample_scales([5, 5, 2], 0.1, 0.02),
    ):
        assert json.dumps(found.to_dict(), allow_nan=False)
        assert found.summary()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ufm.seli([5]), "counts"),
        (lambda: ufm.seli([5, 2], lambda_b=-1), "lambda_b"),
        (lambda: ufm.seli([5, 2]).prediction(0.0), "lambda_z"),
        (lambda: ufm.seli([5, 2]).cosine_rate("diagonal"), "of"),
        (lambda: ufm.large_sample_limit([5, 2], -1), "scaled_lambda_z"),
        (lambda: ufm.large_sample_limit([5, 2], 1).prediction(0), "scale"),
        (lambda: ufm.sample_scales([5, 2], 0.0, 0.1), "lambda_z"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
