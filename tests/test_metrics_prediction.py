"""Distances to the predicted geometry: against dense linear algebra on real solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufm
from oracles import metrics_oracle as oracle
from ufm import metrics

CASES = [
    ([500] * 5 + [100] * 5, 0.003),
    ([500] * 5 + [100] * 5, 0.0039),
    ([60, 20, 60, 7, 20, 3], 0.004),
    ([30, 20, 10], 0.02),
]


@pytest.fixture(params=CASES, ids=str)
def solved(request):
    counts, lambda_z = request.param
    return ufm.solve(counts, lambda_z, 0.02, tol=1e-10)


def factors(solution, lambda_w=0.0, lambda_h=0.0):
    W, H = solution.factors(lambda_w=lambda_w, lambda_h=lambda_h)
    return W, H.T


def test_optimal_factors_have_no_error(solved):
    lambda_w = 0.01
    lambda_h = solved.lambda_z**2 / lambda_w
    W, M = factors(solved, lambda_w, lambda_h)
    assert metrics.mean_prediction(W, M) == pytest.approx(solved.Z, abs=1e-12)
    errors = metrics.prediction_errors((W, M), solved.b, solved)
    assert errors.Z_relative < 1e-13 and errors.Z_max < 1e-13 and errors.b_relative == 0.0
    for prediction in (solved, solved.Z):
        grams = metrics.predicted_grams(prediction, solved.counts, lambda_w, lambda_h)
        result = metrics.gram_errors(W, M, grams)
        assert max(result.W, result.M, result.W_max, result.M_max) < 1e-12
        # W W^T and M M^T by their definition, from the singular value decomposition.
        U, S, Vt = np.linalg.svd(solved.Z * np.sqrt(solved.counts))
        ratio = math.sqrt(lambda_h / lambda_w)
        assert grams.W.dense() == pytest.approx(ratio * (U * S) @ U.T, abs=1e-10)
        scaled = Vt / np.sqrt(solved.counts)
        assert grams.M.dense() == pytest.approx((scaled.T * S) @ scaled / ratio, abs=1e-12)
    balance = metrics.factor_balance(W, M, solved.counts, lambda_w, lambda_h)
    assert float(balance) < 1e-12
    # Self-duality, the target of balanced classes, is missed.
    assert metrics.nc3(W, M).self_duality > 0.05


def test_errors_of_a_disturbed_network(solved):
    rng = np.random.default_rng(0)
    W, M = factors(solved, solved.lambda_z, solved.lambda_z)
    W = W + 0.01 * rng.normal(size=W.shape)
    b = solved.b + 0.3 + 0.01 * rng.normal(size=solved.b.shape)
    Z = W @ M.T
    error = Z - solved.Z
    for ours, prediction in (
        ((W, M), solved),
        (Z, solved.blocks),
        (Z, solved.Z),
        ((W, M), solved.Z),
    ):
        found = metrics.prediction_errors(ours, b, prediction, solved.b)
        assert found.Z_relative == pytest.approx(np.linalg.norm(error) / np.linalg.norm(solved.Z))
        assert found.Z_relative_max == pytest.approx(abs(error).max() / abs(solved.Z).max())
        assert found.Z_rms == pytest.approx(math.sqrt((error**2).mean()))
        assert found.Z_max == pytest.approx(abs(error).max())
        assert found.b_relative == pytest.approx(
            np.linalg.norm(b - solved.b) / np.linalg.norm(solved.b)
        )
        centred = b - b.mean() - solved.b
        assert found.b_centred_relative == pytest.approx(
            np.linalg.norm(centred) / np.linalg.norm(solved.b)
        )
        assert found.b_centred_max == pytest.approx(abs(centred).max())
        assert found.b_centred_relative_max == pytest.approx(
            abs(centred).max() / abs(solved.b).max()
        )
        assert found.b_centred_max < found.b_max
        assert found.b_mean == pytest.approx(b.mean())
    gram = metrics.predicted_grams(solved, solved.counts, solved.lambda_z, solved.lambda_z)
    result = metrics.gram_errors(W, M, gram)
    dense = gram.W.dense()
    assert result.W == pytest.approx(np.linalg.norm(W @ W.T - dense) / np.linalg.norm(dense))
    assert result.W_max == pytest.approx(abs(W @ W.T - dense).max() / abs(dense).max())
    assert result.M < 1e-12


def test_without_bias_and_near_zero():
    solution = ufm.solve([5, 5], 10.0, 0.02)
    assert not solution.Z.any()
    errors = metrics.prediction_errors(np.full((2, 2), 0.5), None, solution)
    assert math.isinf(errors.Z_relative) and errors.Z_max == 0.5 and errors.Z_rms == 0.5
    assert math.isnan(errors.b_relative)
    assert metrics.prediction_errors(np.zeros((2, 2)), None, solution).Z_relative == 0.0


@pytest.mark.parametrize("by", ["columns", "rows"])
def test_block_cosines(solved, by):
    clusters = metrics.clusters_of(solved.counts)
    assert np.array_equal(clusters, solved.cluster_of)
    W, M = factors(solved, solved.lambda_z, solved.lambda_z)
    expected = oracle.block_cosines(solved.Z if by == "rows" else solved.Z.T, clusters)
    for Z in (solved, solved.Z, (W, M)):
        found = metrics.block_cosines(Z, clusters, by=by)
        assert found.mean == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert found.by == by
    everything = np.zeros(solved.num_classes, dtype=int)
    one = metrics.block_cosines(solved, everything, by=by).mean
    assert one == pytest.approx(metrics.block_cosines(solved.Z, everything, by=by).mean, abs=1e-9)
    assert one == pytest.approx(oracle.block_cosines(
        solved.Z if by == "rows" else solved.Z.T, everything), abs=1e-9)  # fmt: skip


def test_cosines_of_rows_and_columns_differ():
    """n = (500 x5, 250 x5), N lambda_Z = 0.1."""
    counts = [500] * 5 + [250] * 5
    solution = ufm.solve(counts, 0.1 / sum(counts), 0.02)
    clusters = metrics.clusters_of(counts)
    columns = metrics.block_cosines(solution, clusters).mean
    rows = metrics.block_cosines(solution, clusters, by="rows").mean
    assert (columns[0, 0], columns[1, 1], columns[0, 1]) == pytest.approx(
        (-0.138, -0.078, -0.111), abs=6e-4
    )
    assert (rows[0, 0], rows[1, 1], rows[0, 1]) == pytest.approx((-0.117, -0.100, -0.113), abs=6e-4)


def test_vanished_columns_have_no_cosine():
    solution = ufm.solve([500] * 5 + [100] * 5, 0.0051, 0.02)
    clusters = metrics.clusters_of(solution.counts)
    for Z in (solution, solution.Z):
        with pytest.warns(metrics.MetricWarning, match="5 columns are zero"):
            result = metrics.block_cosines(Z, clusters)
        assert np.isnan(result.mean[1]).all()
        assert result.mean[0, 0] < 0
    with pytest.raises(ValueError, match="must not split"):
        metrics.block_cosines(solution, [0, 1] + [2] * 8)


@pytest.mark.parametrize(
    ("lambda_z", "merged"), [(0.0027, False), (0.0033, False), (0.0034, True), (0.0039, True)]
)
def test_collapse_verdict_beside_the_threshold(lambda_z, merged):
    counts = [100] * 5 + [500] * 5  # the order of the classes does not matter
    solution = ufm.solve(counts, lambda_z, 0.02)
    large, small = metrics.cluster_spread(solution, counts, lambda_z=lambda_z)
    assert (large.count, large.multiplicity, small.count) == (500.0, 5, 100.0)
    assert small.threshold == pytest.approx(1 / 300)
    assert large.threshold == pytest.approx(math.sqrt(500) / 3000)
    assert small.collapsed is merged and small.predicted is merged
    assert large.collapsed is False and large.predicted is False
    group = solution.Z[:, :5] - solution.Z[:, :5].mean(1, keepdims=True)
    spread = math.sqrt((group**2).sum() / 5)
    assert small.spread == pytest.approx(spread, abs=1e-12)
    centred = solution.Z - solution.Z.mean(1, keepdims=True)
    assert small.relative == pytest.approx(spread / math.sqrt((centred**2).sum() / 10), abs=1e-12)
    W, M = factors(solution, lambda_z, lambda_z)
    assert metrics.cluster_spread((W, M), counts)[1].spread == pytest.approx(spread, abs=1e-12)
    assert metrics.cluster_spread(M.T, counts)[1].collapsed is merged


def test_verdict_of_single_classes_and_tolerances():
    Z = np.diag([1.0, 0.01, 0.0, 0.0])
    alone, pair = metrics.cluster_spread(Z[:, :3], [9, 4, 4])
    assert alone.collapsed is None and alone.predicted is None and math.isnan(alone.spread)
    assert pair.collapsed is True and pair.predicted is None
    assert metrics.cluster_spread(Z[:, :3], [9, 4, 4], rtol=1e-3)[1].collapsed is False
    result = metrics.cluster_spread(Z[:, :3], [9, 4, 4], rtol=1e-3, atol=0.1)
    assert result[1].collapsed is True
    by_weight = metrics.cluster_spread(Z, [4, 4, 4, 4], class_weights=[1, 2, 2, 1])
    assert [c.class_weight for c in by_weight] == [2.0, 1.0]
    assert by_weight[0].threshold == pytest.approx(2 * 2 / 16)


def test_centred_mean_prediction():
    rng = np.random.default_rng(0)
    W, M = rng.normal(size=(2, 4, 3))
    mu = M.mean(0)
    assert metrics.mean_prediction(W, M, mu) == pytest.approx(W @ (M - mu).T)
    assert metrics.mean_prediction(W, M, mu).sum(1) == pytest.approx(np.zeros(4), abs=1e-12)
