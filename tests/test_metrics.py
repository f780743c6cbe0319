"""Collapse metrics on NumPy arrays against their definitions, and hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metric_data import random_network
from oracles import metrics_oracle as oracle
from profiles import examples
from ufm import metrics

ETF = np.eye(4) - 0.25


def statistics(seed=0, **kwargs):
    features, labels, W, b = random_network(seed, **kwargs)
    return metrics.class_statistics(features, labels), W, b


@examples(25)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 8), st.booleans())
def test_statistics(seed, num_classes, dim, weighted):
    features, labels, _, _ = random_network(seed, num_classes, dim, 30)
    weights = np.random.default_rng(seed).uniform(0.1, 3.0, labels.size) if weighted else None
    ours = metrics.class_statistics(features, labels, num_classes, weights=weights)
    counts, means, variances, covariance = oracle.statistics(features, labels, num_classes, weights)
    assert ours.counts == pytest.approx(counts, rel=1e-13)
    assert ours.means == pytest.approx(means.astype(float), rel=1e-13, abs=1e-13)
    assert ours.variances == pytest.approx(variances.astype(float), rel=1e-11, abs=1e-25)
    assert ours.covariance == pytest.approx(covariance.astype(float), rel=1e-10, abs=1e-14)
    assert ours.within_trace == pytest.approx(np.trace(ours.covariance))


@examples(25)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_merged_parts_are_the_whole(seed, cut):
    features, labels, _, _ = random_network(seed)
    whole = metrics.class_statistics(features, labels, 8)  # the last class has no samples
    parts = [
        metrics.class_statistics(features[part], labels[part], 8)
        for part in (slice(cut), slice(cut, None))
    ]
    merged = parts[0].merge(parts[1])
    for name in ("counts", "means", "variances", "covariance"):
        assert getattr(merged, name) == pytest.approx(
            getattr(whole, name), rel=1e-12, abs=1e-14, nan_ok=True
        )


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_tiny_scatter_far_from_the_origin_does_not_cancel(shift):
    """NC1 of 1e-8 and below; raw second moments would lose all digits."""
    rng = np.random.default_rng(5)
    labels = np.tile(np.arange(4), 50)
    offsets = 2.0**-20 * rng.choice([-1.0, 1.0], size=(100, 6))
    features = shift + np.eye(4, 6)[labels]
    features[:100] += offsets
    features[100:] -= offsets  # the class means stay as they are, to the last digit
    parts = [
        metrics.class_statistics(features[i : i + 17], labels[i : i + 17], 4)
        for i in range(0, 200, 17)
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    whole = metrics.class_statistics(features, labels)
    for found in (merged, whole):
        assert found.variances == pytest.approx(6 * 2.0**-40, rel=1e-6)
    value = float(metrics.nc1(whole.means, whole.covariance, whole.counts))
    # Sigma_B has three eigenvalues 1/4; Sigma_W summed over those directions is known exactly.
    directions = np.linalg.svd(ETF)[0][:, :3]
    inside = np.trace(directions.T @ (offsets[:, :4].T @ offsets[:, :4] / 100) @ directions)
    assert value == pytest.approx(inside * 4 / 4, rel=1e-6)
    assert value < 1e-10


@pytest.mark.parametrize("convention", list(metrics.CONVENTIONS))
@pytest.mark.parametrize("seed", range(4))
def test_nc1(convention, seed):
    found, _, _ = statistics(seed, num_classes=5, dim=8 if seed % 2 else 4)
    rule = metrics.CONVENTIONS[convention]
    rtol = 8 * np.finfo(np.float32).eps if rule.rtol is None else rule.rtol
    result = metrics.nc1(found.means, found.covariance, found.counts, convention=convention)
    expected = oracle.nc1(
        found.means, found.covariance, found.counts, rule.weights, rule.mean, rtol
    )
    assert float(result) == pytest.approx(expected, rel=1e-9)
    assert result.rank == 4
    assert result.warnings == ()


def test_nc1_conventions_by_hand():
    """Two classes of 3 and 1 samples at -1 and 1: mean -1/2; Sigma_W = 1/10."""
    M, covariance, counts = np.array([[-1.0], [1.0]]), np.array([[0.1]]), np.array([3, 1])
    value = {
        name: float(metrics.nc1(M, covariance, counts, convention=name))
        for name in metrics.CONVENTIONS
    }
    assert value["class-weighted"] == pytest.approx(0.1 / (3 / 4 * 0.25 + 1 / 4 * 2.25) / 2)
    assert value["unweighted"] == pytest.approx(0.1 / (0.25 / 2 + 2.25 / 2) / 2)
    assert value["neural-collapse"] == pytest.approx(0.1 / 1.0 / 2)
    assert float(
        metrics.nc1(M, covariance, weights="equal", mean="equal", rtol=0.0)
    ) == pytest.approx(0.05)


def test_only_the_weighted_convention_splits_the_total_covariance():
    features, labels, _, _ = random_network(3)
    found = metrics.class_statistics(features, labels)
    total = np.cov(features.T, bias=True)
    C = found.means - found.mean
    between = (C.T * found.counts / found.num_samples) @ C
    assert found.covariance + between == pytest.approx(total, rel=1e-12)
    assert found.mean == pytest.approx(features.mean(0))


def test_trace_ratio():
    found, _, _ = statistics(1)
    C = found.means - found.mean
    expected = np.trace(found.covariance) / ((found.counts / found.counts.sum()) @ (C**2).sum(1))
    result = metrics.nc1_trace_ratio(found.means, found.within_trace, found.counts)
    assert float(result) == pytest.approx(expected)
    assert "blind to minority collapse" in result.warnings[0]


@pytest.mark.parametrize("power", [2, 4])
def test_cdnv(power):
    found, _, _ = statistics(2)
    clusters = np.array([0, 0, 1, 1, 1, 2, 2])
    result = metrics.cdnv(found.means, found.variances, clusters, power=power)
    table = oracle.cdnv(found.means, found.variances, power)
    pairs = table[np.triu_indices(7, 1)]
    assert float(result) == pytest.approx(pairs.mean())
    assert result.max == pytest.approx(pairs.max())
    assert table[result.worst_pair] == pytest.approx(pairs.max())
    assert result.worst_pair[0] < result.worst_pair[1]
    expected = np.array(
        [
            [np.mean([table[i, j] for i in np.flatnonzero(clusters == a)
                      for j in np.flatnonzero(clusters == c) if i != j]) for c in range(3)]
            for a in range(3)
        ]
    )  # fmt: skip
    assert result.between_clusters == pytest.approx(expected)


def test_cdnv_of_means_that_nearly_agree():
    """Distances of 1e-9 beside lengths of 1: inner products would give noise."""
    M = np.array([[1.0, 0.0], [1.0, 2.0**-30], [0.0, 1.0]])
    result = metrics.cdnv(M, np.full(3, 2.0**-62))
    assert result.max == pytest.approx(0.25, rel=1e-12)
    assert result.worst_pair == (0, 1)


def test_nc2_gnc2_nc3_unc3():
    found, W, _ = statistics(4)
    C = found.means - found.mean
    result = metrics.nc2(found.means, found.mean)
    assert (
        result.norm_variation,
        result.cosine_deviation,
        result.equiangularity,
        result.gram_distance,
    ) == pytest.approx(oracle.nc2(C))
    spread = metrics.gnc2(found.means, found.mean)
    assert (spread.mean, spread.variance) == pytest.approx(oracle.gnc2(C))
    dual = metrics.nc3(W, found.means, found.mean)
    assert (dual.self_duality, dual.product_distance) == pytest.approx(oracle.nc3(W, C))
    uniform = metrics.unc3(W, found.means, found.mean)
    assert (uniform.variance, uniform.mean) == pytest.approx(oracle.unc3(W, C))
    # Without a mean, that of the classes is taken.
    assert metrics.nc2(found.means) == metrics.nc2(found.means, found.means.mean(0))


def test_an_etf_has_everything_zero():
    for scale in (1e-6, 1.0, 1e6):
        M = scale * ETF + 3.0
        result = metrics.nc2(M)
        assert result.norm_variation < 1e-9
        assert result.cosine_deviation < 1e-9
        assert result.equiangularity < 1e-9
        assert result.gram_distance < 1e-9
        assert metrics.gnc2(M).variance < 1e-15
        assert metrics.gnc2(M).mean == pytest.approx(-0.5 * math.log(8 / 3))
        dual = metrics.nc3(7.0 * ETF, M)
        assert dual.self_duality < 1e-9
        assert dual.product_distance < 1e-9
        assert metrics.unc3(7.0 * ETF, M).mean == pytest.approx(1.0)


def test_nc4_uses_the_bias():
    """The same network with and without its bias: a tool that drops it would give 1."""
    M = np.array([[1.0, 0.0], [-1.0, 0.0]])
    features = np.array([[0.5, 0.0], [-0.5, 0.0], [-3.0, 1.0], [2.0, 0.0]])
    assert float(metrics.nc4(features, M, M)) == 1.0
    result = metrics.nc4(features, M, M, np.array([2.0, 0.0]))
    assert float(result) == 0.75
    assert result.samples == 4 and result.meaningful


def test_nc4_against_its_definition():
    features, labels, W, b = random_network(6)
    found = metrics.class_statistics(features, labels)
    result = metrics.nc4(features, found.means, W, b)
    assert float(result) == oracle.nc4(features, found.means, W, b)
    assert 0 < float(result) < 1


def test_nc4_says_when_it_means_nothing():
    features, _, W, b = random_network(6)
    M = np.vstack([W[:5], W[4:5] + 1e-6, W[6:]])
    with pytest.warns(metrics.MetricWarning, match="matter of chance"):
        result = metrics.nc4(features, M, W, b)
    assert not result.meaningful
    assert result.closest < 1e-5


def test_nc5_and_bias_cancellation_by_hand():
    M = np.array([[2.0, 0.0], [0.0, -3.0]])
    assert metrics.nc5(M, np.array([3.0, 4.0])) == pytest.approx((0.6 + 0.8) / 2)
    assert metrics.bias_cancellation(M, np.array([1.0, 1.0]), np.array([1.0, -1.0])) == 5.0
    assert metrics.bias_cancellation(M, np.array([1.0, 1.0]), np.array([-2.0, 3.0])) == 0.0


def test_report_has_everything():
    found, W, b = statistics(8)
    report = metrics.report(found, W, b)
    values = report.to_dict()
    assert values["nc1"] == float(metrics.nc1(found.means, found.covariance, found.counts))
    assert values["unc3_variance"] == pytest.approx(
        metrics.unc3(W, found.means, found.mean).variance
    )
    assert values["bias_cancellation"] == pytest.approx(metrics.bias_cancellation(W, found.mean, b))
    assert set(metrics.report(found).to_dict()) == set(values) - {
        "nc3_self_duality", "nc3_product_distance", "unc3_variance", "unc3_mean",
        "bias_cancellation",
    }  # fmt: skip
    for name in values:
        assert name in report.summary()
    assert "blind to minority collapse" in report.summary()
    assert report.cdnv.between_clusters.shape == (np.unique(found.counts).size,) * 2


def test_classes_without_samples_are_left_out():
    features, labels, W, b = random_network(9)
    labels = np.where(labels == 3, 2, labels)
    found = metrics.class_statistics(features, labels, 9)
    W, b = np.vstack([W, W[:2]]), np.concatenate([b, b[:2]])
    seen = [0, 1, 2, 4, 5, 6]
    relabelled = np.searchsorted(seen, labels)
    report = metrics.report(found, W, b)
    expected = metrics.report(metrics.class_statistics(features, relabelled), W[seen], b[seen])
    assert report.to_dict() == expected.to_dict()
    assert report.num_classes == 6 and report.num_empty == 3
    assert "3 classes have no samples and are left out" in report.warnings
    assert np.isnan(found.means[[3, 7, 8]]).all()
    assert np.isfinite(found.means[seen]).all()


def test_pairs_can_be_left_out():
    found, W, b = statistics(8)
    values = metrics.report(found, W, b, pairs=False).to_dict()
    assert "nc1" in values and "nc3_self_duality" in values
    assert not {"cdnv_mean", "nc2_equiangularity", "gnc2_mean"} & set(values)
