"""The advisor's other target: changes after which every class wins its own samples."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import ufm
from oracles.reference_solver import solve_reference
from profiles import examples
from ufm.planning.positive_margin import CHANGES

LAMBDA_B = 0.02
DIGITS = np.array([100.0] * 5 + [20.0] * 5)
LAMBDA_Z = 1.2 * math.sqrt(20) / 600


def smallest_margin(Z, b):
    """Least lead of an own logit over the largest other one, from dense Z and b."""
    logits = Z + b[:, None]
    others = logits.copy()
    np.fill_diagonal(others, -np.inf)
    return float((np.diag(logits) - others.max(axis=0)).min())


def free(counts, lambda_z, weights=None):
    solution = ufm.solve(
        counts, lambda_z, LAMBDA_B, class_weights=weights, method="proximal", tol=1e-9
    )
    assert solution.converged
    return smallest_margin(solution.Z, solution.b)


def nonnegative(counts, lambda_z, weights=None):
    solution = ufm.nonnegative_solution(counts, lambda_z, LAMBDA_B, class_weights=weights, tol=1e-9)
    assert solution.converged
    return smallest_margin(solution.Z, solution.b)


MARGIN = {"free": free, "nonnegative": nonnegative}


def raised(counts, level):
    return np.maximum(counts, level)


def normalised(counts, level):
    weights = np.maximum(level / counts, 1.0)
    return weights * counts.sum() / (weights * counts).sum()


def advise(counts=DIGITS, lambda_z=LAMBDA_Z, **options):
    options.setdefault("lambda_b", LAMBDA_B)
    return ufm.advise(counts, lambda_z=lambda_z, target="positive_margin", **options)


@pytest.fixture(scope="module", params=MARGIN)
def case(request):
    advice = advise(features=request.param)
    assert advice.positive_margin.features == request.param
    return advice.positive_margin, MARGIN[request.param]


# ---------------------------------------------------------------------- against bisection


def test_margins_as_given(case):
    found, margin = case
    assert found.needed
    assert found.margins.min() == pytest.approx(margin(DIGITS, LAMBDA_Z), abs=1e-3)


def test_oversampling_is_the_first_of_all_levels(case):
    found, margin = case
    enough = [level for level in range(20, 101) if margin(raised(DIGITS, level), LAMBDA_Z) > 0]
    change = found.oversampling
    assert change.value == enough[0]
    assert change.value_short == enough[0] - 1 and change.smallest_margin_short <= 0
    assert change.factors.tolist() == [1.0] * 5 + [enough[0] / 20] * 5


def test_known_factors(case):
    found, margin = case
    assert found.oversampling.largest_factor == {free: 2.2, nonnegative: 2.7}[margin]


def test_lambda_z_by_bisection(case):
    found, margin = case
    root = brentq(lambda value: margin(DIGITS, value), 0.5 * LAMBDA_Z, 0.95 * LAMBDA_Z, rtol=1e-7)
    assert found.lambda_z.value == pytest.approx(root, rel=1e-4)
    assert (found.lambda_z.factors == 1).all()


def test_weights_by_bisection(case):
    found, margin = case
    plain = brentq(
        lambda level: margin(DIGITS, LAMBDA_Z, np.maximum(level / DIGITS, 1)), 22, 60, rtol=1e-7
    )
    assert found.plain_weights.value == pytest.approx(plain, rel=1e-4)
    scaled = brentq(
        lambda level: margin(DIGITS, LAMBDA_Z, normalised(DIGITS, level)), 22, 60, rtol=1e-7
    )
    assert found.normalised_weights.value == pytest.approx(scaled, rel=1e-4)
    assert found.normalised_weights.factors[-1] == pytest.approx(scaled / 20, rel=1e-4)


def test_a_wider_margin(case):
    found, margin = case
    features = found.features
    wide = advise(features=features, logit_margin=0.3)
    change = wide.positive_margin.oversampling
    levels = range(20, 101)
    enough = [level for level in levels if margin(raised(DIGITS, level), LAMBDA_Z) > 0.3]
    assert change.value == enough[0] > found.oversampling.value
    assert change.smallest_margin_short <= 0.3 < change.smallest_margin
    root = brentq(lambda value: margin(DIGITS, value) - 0.3, 0.5 * LAMBDA_Z, 0.9 * LAMBDA_Z)
    assert wide.positive_margin.lambda_z.value == pytest.approx(root, rel=1e-4)
    assert "above 0.3" in str(wide) and wide.confirmed
    # More than this data can give by repetition; a smaller lambda_z can.
    most = advise(features=features, logit_margin=2.0).positive_margin
    assert not most.oversampling.feasible and most.lambda_z.feasible


def test_against_the_plain_numpy_solver():
    found = advise().positive_margin
    for level, positive in ((found.oversampling.value, True), (43.0, False)):
        reference = solve_reference(raised(DIGITS, level), LAMBDA_Z, LAMBDA_B)
        assert (smallest_margin(reference.Z, reference.b) > 0) is positive
    weights = found.normalised_weights.factors
    for factor in (0.99, 1.01):
        used = np.maximum(1, weights * factor) * DIGITS.sum() / (weights * DIGITS).sum()
        reference = solve_reference(DIGITS, LAMBDA_Z, LAMBDA_B, used)
        assert (smallest_margin(reference.Z, reference.b) > 0) is (factor > 1)


@given(
    st.integers(2, 5),
    st.integers(1, 5),
    st.integers(5, 30),
    st.floats(1.5, 12),
    st.floats(0.7, 1.4),
)
@examples(15)
def test_both_sides_of_every_recommendation(k_a, k_b, n_b, ratio, strength):
    counts = np.array([round(ratio * n_b)] * k_a + [n_b] * k_b, float)
    lambda_z = strength * math.sqrt(n_b) / counts.sum()
    found = advise(counts, lambda_z).positive_margin
    assert found.needed == (free(counts, lambda_z) <= 0)
    if not found.needed:
        return
    value = found.lambda_z.value
    assert free(counts, 0.999 * value) > 0 > free(counts, 1.001 * value) - 1e-9
    level = found.oversampling.value
    if level is not None:
        assert free(raised(counts, level), lambda_z) > -1e-4
        assert free(raised(counts, level - 1), lambda_z) <= 1e-4
    level = found.plain_weights.value
    assert free(counts, lambda_z, np.maximum(1.001 * level / counts, 1)) > 0


# ---------------------------------------------------------------------- special cases


def test_equal_classes_win_exactly_below_the_threshold():
    counts, threshold = [50] * 4, math.sqrt(50) / 200
    found = advise(counts, 1.3 * threshold).positive_margin
    assert found.lambda_z.value == pytest.approx(threshold, rel=1e-4)
    for change in (found.oversampling, found.normalised_weights):
        assert not change.feasible and change.factors is None
    # Weights as given only scale the loss: as if lambda_z and lambda_b were smaller.
    assert found.plain_weights.factors == pytest.approx(np.full(4, 1.3), rel=1e-4)
    assert not advise(counts, 0.9 * threshold).positive_margin.needed


def test_nothing_to_do():
    advice = advise(lambda_z=0.002)
    found = advice.positive_margin
    assert not found.needed and (found.margins > 0).all()
    for name in CHANGES:
        change = getattr(found, name)
        assert not change.needed and change.feasible and (change.factors == 1).all()
        assert math.isnan(change.value_short)
    assert found.lambda_z.value == 0.002
    assert "not needed" in str(advice) and advice.confirmed


def test_different_sizes_are_all_asked_for():
    """Classes alone in their size cannot merge, yet lose their samples to larger ones."""
    counts = [500, 300, 100, 20]
    advice = advise(counts, 0.008)
    assert not advice.merged.any() and math.isinf(advice.largest_lambda_z)
    found = advice.positive_margin
    assert found.margins[3] < 0 < found.margins[0]
    level = found.oversampling.value
    assert free(raised(np.array(counts, float), level), 0.008) > 0
    assert "To keep classes apart" not in str(advice) and "wins its own" in str(advice)


def test_mean_penalty_falls_as_samples_are_added():
    N = DIGITS.sum()
    decays = {"weight_decay": 0.01, "feature_decay": LAMBDA_Z**2 * N / 0.01}
    advice = ufm.advise(
        DIGITS, lambda_b=LAMBDA_B, feature_penalty="mean", target="positive_margin", **decays
    )
    change = advice.positive_margin.oversampling

    def margin(level):
        counts = raised(DIGITS, level)
        return free(counts, math.sqrt(0.01 * decays["feature_decay"] / counts.sum()))

    assert margin(change.value) > 0 >= margin(change.value - 1)
    assert change.value < advise().positive_margin.oversampling.value
    decay = advice.positive_margin.weight_decay
    lambda_z = math.sqrt(decay * decays["feature_decay"] / N)
    assert lambda_z == pytest.approx(advice.positive_margin.lambda_z.value, rel=1e-12)


def test_counts_that_are_not_whole():
    counts = DIGITS + 0.5
    level = advise(counts).positive_margin.oversampling.value
    assert level != round(level)
    root = brentq(lambda value: free(raised(counts, value), LAMBDA_Z), 40, 60, rtol=1e-7)
    assert level == pytest.approx(root, rel=1e-4)


def test_checks_and_a_solve_that_falls_short():
    advice = advise()
    names = [check.name for check in advice.checks if check.smallest_margin is not None]
    assert names == [
        "positive margin, lambda_z",
        "positive margin, oversampling",
        "positive margin, class weights, plain",
        "positive margin, class weights, normalised",
    ]
    assert advice.confirmed and all(check.tol <= 1e-8 for check in advice.checks[-5:])
    short = advise(tol=1e-300)
    assert not short.confirmed
    assert all(not getattr(short.positive_margin, name).feasible for name in CHANGES)
    assert "missed their tolerance" in " ".join(str(short).split())


def test_apart_says_nothing_of_margins():
    advice = ufm.advise(DIGITS, lambda_z=LAMBDA_Z, lambda_b=LAMBDA_B)
    assert advice.positive_margin is None and advice.to_dict()["positive_margin"] is None
    assert "wins its own" not in str(advice)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "margin"}, ["target", "apart, positive_margin"]),
        ({"target": "positive_margin", "features": "relu"}, ["features", "free, nonnegative"]),
        ({"features": "nonnegative"}, ["features", "positive_margin"]),
        ({"logit_margin": 0.1}, ["logit_margin", "positive_margin"]),
        ({"target": "positive_margin", "logit_margin": -1}, ["logit_margin", "not negative"]),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        ufm.advise(DIGITS, lambda_z=LAMBDA_Z, lambda_b=LAMBDA_B, **options)
    for word in words:
        assert word in str(error.value)


# ---------------------------------------------------------------------- what people see


@pytest.mark.parametrize("features", MARGIN)
def test_text_page_and_record_tell_it(features):
    advice = advise(features=features)
    theory = {"free": "free to be negative", "nonnegative": "after a ReLU"}[features]
    factor = f"{advice.positive_margin.oversampling.largest_factor:.3g}"
    text = " ".join(str(advice).split())
    page = advice.html(pictures=False)
    for shown in (text, page):
        assert theory in shown and f"factors {factor}" in shown
    assert max(map(len, str(advice).splitlines())) <= 100
    record = json.loads(json.dumps(advice.to_dict(), allow_nan=False))["positive_margin"]
    assert record["features"] == features
    assert record["oversampling"]["value"] == advice.positive_margin.oversampling.value
    assert len(record["normalised_weights"]["factors"]) == 10


def test_numbers_are_rounded_to_the_safe_side():
    text = " ".join(str(advise()).split())
    lambda_z = float(text.split("lambda_z up to ")[2].split(". cost")[0])
    assert free(DIGITS, lambda_z) > 0
    weight = float(text.rsplit("weigh the loss of 5 classes by ", 1)[1].split(",")[0])
    assert free(DIGITS, LAMBDA_Z, normalised(DIGITS, 20 * weight)) > 0


def test_command_line(capsys):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from ufm.cli import main

    problem = ["advise", "--counts", "100x5,20x5", "--lambda-z", "1.2x", "--lambda-b", "0.02"]
    options = ["--target", "positive-margin", "--features", "nonnegative"]
    assert main([*problem, *options]) == 0
    out = capsys.readouterr().out
    assert "factors 2.7" in out and "after a ReLU" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100
    assert main([*problem, *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["positive_margin"]["oversampling"]["value"] == 54
    assert main([*problem, *options, "--logit-margin", "0.3", "--json"]) == 0
    wide = json.loads(capsys.readouterr().out)["positive_margin"]
    assert wide["least"] == 0.3 and wide["oversampling"]["smallest_margin"] > 0.3
    assert main([*problem, "--target", "wide"]) == 2
    assert "positive_margin" in capsys.readouterr().err
