"""Collapse thresholds with nonnegative features: stated numbers, formula, and both sides."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import ufm
from oracles import nonnegative_oracle

# sizes, counts, lambda_b, threshold of the smaller cluster in units of sqrt(n_B) / N
STATED = [
    ((5, 5), (60, 30), 0.02, 0.967),
    ((5, 5), (150, 30), 0.02, 0.988),
    ((5, 5), (150, 30), 0.1, 0.965),
    ((5, 5), (150, 30), 0.005, 1.0),
    ((5, 5), (600, 30), 0.02, 1.0),
    ((3, 7), (600, 30), 0.005, 1.0),
]


@pytest.mark.parametrize(("sizes", "counts", "lambda_b", "stated"), STATED)
def test_minority_threshold(sizes, counts, lambda_b, stated):
    n = np.repeat(np.array(counts, float), sizes)
    result = ufm.nonnegative_thresholds(n, lambda_b)
    minority = result.clusters[1]
    assert minority.free == pytest.approx(math.sqrt(counts[1]) / n.sum(), rel=1e-14)
    ratio = minority.collapse / minority.free
    assert ratio == pytest.approx(stated, abs=5.1e-4)
    assert minority.vanishes == (ratio < 1)

    below = ufm.nonnegative_solution(n, 0.998 * minority.collapse, lambda_b)
    above = ufm.nonnegative_solution(n, 1.002 * minority.collapse, lambda_b)
    assert below.converged and above.converged
    assert not below.collapsed[-1] and above.collapsed[-1]
    assert np.ptp(below.Z[:, -sizes[1] :], axis=1).max() > 1e-3
    assert np.ptp(above.Z[:, -sizes[1] :], axis=1).max() == 0.0
    if minority.vanishes:
        assert not above.Z[:, -1].any()

    # The formula, with the prediction of the bias at the threshold.
    b = ufm.nonnegative_solution(n, minority.collapse, lambda_b, tol=1e-10).b
    p = np.exp(b) / np.exp(b).sum()
    formula = min(1.0, math.sqrt(1 - 2 * p[-1] + p @ p))
    if minority.vanishes:
        assert ratio == pytest.approx(formula, abs=2e-5)
    else:
        # With p of the bias, features of a minority class would pay: sqrt(1 - 2 p_B + |p|^2) >= 1.
        assert p @ p >= 2 * p[-1]


def test_both_sides_by_descent_on_the_factors():
    n, lambda_b = np.array([12.0, 12.0, 6.0, 6.0]), 0.02
    at = ufm.nonnegative_thresholds(n, lambda_b).clusters[1]
    assert at.vanishes
    for factor, collapsed in ((0.99, False), (1.01, True)):
        lambda_z = factor * at.collapse
        solution = ufm.nonnegative_solution(n, lambda_z, lambda_b, tol=1e-10)
        ends = nonnegative_oracle.descend(n, lambda_z, lambda_b, width=16, starts=3)
        assert min(ends) == pytest.approx(solution.objective, rel=1e-9)
        assert bool(solution.collapsed[-1]) == collapsed


@pytest.mark.parametrize("lambda_b", [0.0, 0.05])
@pytest.mark.parametrize(
    "counts", [[50, 5, 5, 1, 1], [30] * 3 + [20] * 3 + [8] * 3 + [2] * 2, [9] * 4]
)
def test_every_cluster_from_both_sides(counts, lambda_b):
    n = np.array(counts, float)
    for cluster in ufm.nonnegative_thresholds(n, lambda_b).clusters:
        if cluster.multiplicity == 1:
            assert math.isnan(cluster.collapse)
            continue
        assert 0.5 * cluster.free <= cluster.collapse <= cluster.free
        k = int(np.flatnonzero(n == cluster.count)[0])
        for factor, collapsed in ((0.998, False), (1.002, True)):
            solution = ufm.nonnegative_solution(n, factor * cluster.collapse, lambda_b, tol=1e-9)
            assert solution.converged
            assert bool(solution.collapsed[k]) == collapsed


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 2.0, 2.0, 2.0]])
def test_without_bias(weights):
    n = np.array([40.0, 40.0, 10.0, 10.0, 10.0])
    w = np.ones(5) if weights is None else np.array(weights)
    result = ufm.nonnegative_thresholds(n, math.inf, class_weights=weights)
    for cluster, k in zip(result.clusters, (0, 4), strict=True):
        expected = w[k] * math.sqrt(n[k] * 4 / 5) / n.sum()
        assert cluster.collapse == pytest.approx(expected, rel=1e-14)
        assert cluster.vanishes and cluster.class_weight == pytest.approx(w[k])
        for factor, collapsed in ((1 - 1e-9, False), (1 + 1e-9, True)):
            solution = ufm.nonnegative_solution(
                n, factor * expected, math.inf, class_weights=weights
            )
            assert bool(solution.collapsed[k]) == collapsed


def test_text():
    result = ufm.nonnegative_thresholds([50, 5, 5], 0.02)
    lines = result.summary().splitlines()
    assert len(lines) == 4 and lines[2].endswith("single")
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["num_samples"] == 60 and told["clusters"][0]["collapse"] is None
    assert told["clusters"][1]["collapse"] == result.clusters[1].collapse


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match="counts"):
        ufm.nonnegative_thresholds([0, 1], 0.1)
    with pytest.raises(ValueError, match="lambda_b"):
        ufm.nonnegative_thresholds([2, 1], -0.1)
    with pytest.raises(TypeError, match="class_weights"):
        ufm.nonnegative_thresholds([2, 1], 0.1, class_weights=["a", "b"])
