"""Faults of other tools, and cases where a metric does not mean what its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metric_data import imbalanced, random_network
from oracles import metrics_oracle as oracle
from ufm import metrics

SINGLE = 64 * float(np.finfo(np.float32).eps)


def minority(gap, sigma):
    features, labels, counts, _ = imbalanced(gap=gap, sigma=sigma, length=0.406)
    found = metrics.class_statistics(features, labels)
    assert found.counts.tolist() == counts.tolist()
    return found


def test_tolerance_decides_nc1_under_minority_collapse():
    """5 x 500 + 5 x 100 in 64 dimensions, minority means 1e-3 apart: 10.6 or 8e-6."""
    # Four minority directions with eigenvalue (gap^2 / 2) / 30 each: 10 NC1 = 4 sigma^2 60 / gap^2.
    sigma = math.sqrt(10 * 10.6 * 1e-6 / (4 * 60))
    found = minority(1e-3, sigma)
    tight = metrics.nc1(found.means, found.covariance, found.counts)
    assert float(tight) == pytest.approx(10.6, rel=0.05)
    assert tight.rank == 9
    assert tight.warnings == ()
    with pytest.warns(metrics.MetricWarning, match="not rounding"):
        loose = metrics.nc1(found.means, found.covariance, found.counts, rtol=SINGLE)
    assert loose.rank == 5
    assert float(loose) == pytest.approx(8e-6, rel=0.05)
    with pytest.warns(metrics.MetricWarning):
        single = metrics.nc1(
            found.means, found.covariance, found.counts, convention="neural-collapse"
        )
    assert float(single) < 1e-4
    assert any("nearly merge are ignored" in text for text in single.warnings)
    ratio = metrics.nc1_trace_ratio(found.means, found.within_trace, found.counts)
    assert float(ratio) < 3e-4  # small, in spite of NC1 = 10.6
    assert "blind" in ratio.warnings[0]


def test_merged_means_leave_nc1_small():
    found = minority(0.0, 6.6e-4)
    result = metrics.nc1(found.means, found.covariance, found.counts)
    assert result.rank == 5
    assert float(result) < 5e-5
    assert result.eigenvalues[5] < 1e-25


def test_no_gap_at_the_cut_is_said():
    for square, rank in ((3e-10, 2), (3e-11, 1)):
        M = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) * [1.0, square**0.5]
        with pytest.warns(metrics.MetricWarning) as issued:
            result = metrics.nc1(M, np.eye(2), np.ones(4))
        assert result.rank == rank
        assert "no gap at the cut" in result.warnings[0]
        assert len(result.warnings) == 3 - rank
        assert tuple(str(warning.message) for warning in issued) == result.warnings
    clear = metrics.nc1(np.eye(8), np.eye(8), np.ones(8))
    assert clear.warnings == () and clear.rank == 7


def test_all_means_equal():
    with pytest.warns(metrics.MetricWarning, match="infinite"):
        result = metrics.nc1(np.ones((3, 2)), np.eye(2), np.ones(3))
    assert math.isinf(float(result)) and result.rank == 0


def test_weighted_global_mean_of_many_classes():
    features, labels, _, _ = random_network(1)
    found = metrics.class_statistics(features, labels)
    assert metrics.global_mean(found.means, found.counts) == pytest.approx(features.mean(0))
    assert metrics.global_mean(found.means, mean="equal") == pytest.approx(found.means.mean(0))
    assert not np.allclose(features.mean(0), found.means.mean(0))


def test_equiangularity_does_not_cancel():
    """Signed deviations from -1/(K-1) of these centred means sum to zero exactly."""
    M = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    signed = np.mean([c + 1 / 3 for c in oracle.cosines(M)])
    assert signed == pytest.approx(0.0, abs=1e-15)
    assert metrics.nc2(M).equiangularity == pytest.approx((4 / 3 + 2 * 2 / 3) / 6)


def test_unc3_takes_the_cosine_of_each_class_with_itself():
    """Orthogonal means, each weight equal to its mean: off-diagonal cosines are all zero."""
    M = np.eye(3)
    mu = np.zeros(3)
    assert metrics.unc3(M, M, mu).mean == 1.0
    turned = metrics.unc3(M * [[1.0], [1.0], [-1.0]], M, mu)
    assert float(turned) == pytest.approx(np.var([1, 1, -1]))


def test_a_class_of_one_sample():
    features, labels, W, b = random_network(0)
    assert (labels == 0).sum() == 1
    report = metrics.report(metrics.class_statistics(features, labels), W, b)
    assert all(math.isfinite(value) for value in report.to_dict().values())
    single = metrics.class_statistics(features[:1], labels[:1], 1)
    assert single.variances[0] == 0.0 and single.covariance == pytest.approx(np.zeros((5, 5)))
    every = metrics.class_statistics(features[:7], labels[:7])
    assert every.counts.tolist() == [1.0] * 7
    assert float(metrics.nc1(every.means, every.covariance, every.counts)) == 0.0


def test_coincident_means():
    M = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    with pytest.warns(metrics.MetricWarning, match="1 pairs of class means coincide"):
        result = metrics.cdnv(M, np.ones(4))
    assert math.isinf(result.max) and result.worst_pair == (0, 1)
    with pytest.warns(metrics.MetricWarning, match="coincide"):
        spread = metrics.gnc2(M, np.zeros(2) + 0.1)
    assert spread.coincident == 1 and math.isfinite(spread.mean)
    with pytest.warns(metrics.MetricWarning, match="no direction"):
        angles = metrics.nc2(M, np.zeros(2))
    assert math.isfinite(angles.equiangularity)
    with pytest.warns(metrics.MetricWarning, match="1 classes have no direction"):
        assert metrics.unc3(M, M, np.zeros(2)).mean == 1.0
    with pytest.warns(metrics.MetricWarning, match="undefined"):
        metrics.nc3(M, np.ones((4, 2)))


def test_float32_is_computed_in_float64():
    features, labels, W, b = random_network(2)
    single = [x.astype(np.float32) for x in (features, W, b)]
    double = [x.astype(np.float64) for x in single]
    reports = [
        metrics.report(metrics.class_statistics(h, labels), w, c).to_dict()
        for h, w, c in (single, double)
    ]
    assert reports[0] == reports[1]


def test_half_precision_means_do_not_overflow():
    features = np.full((2000, 3), 60000.0, dtype=np.float16)
    found = metrics.class_statistics(features, np.zeros(2000, dtype=int))
    assert found.means[0] == pytest.approx(float(np.float16(60000.0)))


GOOD_M = np.eye(3)
BAD = [
    (lambda: metrics.class_statistics(np.ones((2, 2)), [0, 5], 3), ValueError, "labels"),
    (lambda: metrics.class_statistics(np.ones((2, 2)), [0, -1], 3), ValueError, "labels"),
    (lambda: metrics.class_statistics(np.ones((2, 2)), [0.0, 1.0], 3), TypeError, "labels"),
    (lambda: metrics.class_statistics(np.ones((2, 2)), [0], 3), ValueError, "labels"),
    (lambda: metrics.class_statistics(np.ones(2), [0, 1]), ValueError, "features"),
    (lambda: metrics.class_statistics([[1.0, np.nan]], [0]), ValueError, "features"),
    (lambda: metrics.class_statistics(np.ones((2, 2)), [0, 1], 0), ValueError, "num_classes"),
    (lambda: metrics.class_statistics(np.ones((0, 2)), []), ValueError, "labels"),
    (
        lambda: metrics.class_statistics(np.ones((2, 2)), [0, 1], weights=[1.0, -1.0]),
        ValueError,
        "weights",
    ),
    (lambda: metrics.nc1(GOOD_M, np.eye(2), np.ones(3)), ValueError, "covariance"),
    (lambda: metrics.nc1(GOOD_M, np.eye(3)), ValueError, "counts"),
    (lambda: metrics.nc1(GOOD_M, np.eye(3), np.ones(2)), ValueError, "counts"),
    (lambda: metrics.nc1(GOOD_M, np.eye(3), [1, 1, -1]), ValueError, "counts"),
    (lambda: metrics.nc1(GOOD_M, np.eye(3), np.ones(3), rtol=1.5), ValueError, "rtol"),
    (
        lambda: metrics.nc1(GOOD_M, np.eye(3), np.ones(3), convention="best"),
        ValueError,
        "convention",
    ),
    (lambda: metrics.nc1(GOOD_M[:1], np.eye(3), [1]), ValueError, "two classes"),
    (lambda: metrics.nc1([["a"]], np.eye(1), [1]), TypeError, "M"),
    (lambda: metrics.cdnv(GOOD_M, np.ones(2)), ValueError, "variances"),
    (lambda: metrics.cdnv(GOOD_M, np.ones(3), power=3), ValueError, "power"),
    (lambda: metrics.cdnv(GOOD_M, np.ones(3), [0, 1]), ValueError, "clusters"),
    (lambda: metrics.nc2(GOOD_M, np.ones(2)), ValueError, "mu"),
    (lambda: metrics.nc2(GOOD_M * np.nan), ValueError, "M"),
    (lambda: metrics.nc3(np.ones((2, 3)), GOOD_M), ValueError, "W"),
    (lambda: metrics.nc4(np.ones((2, 2)), GOOD_M, GOOD_M), ValueError, "features"),
    (lambda: metrics.nc4(np.ones((2, 3)), GOOD_M, GOOD_M, [1.0]), ValueError, "b"),
    (lambda: metrics.nc5(GOOD_M, np.zeros(3)), ValueError, "mu_ood"),
    (lambda: metrics.bias_cancellation(GOOD_M, np.ones(2)), ValueError, "mu"),
    (lambda: metrics.factor_balance(GOOD_M, GOOD_M, np.ones(3), 0.0, 1.0), ValueError, "lambda_w"),
    (lambda: metrics.prediction_errors(GOOD_M, [1.0], GOOD_M, [1.0]), ValueError, "b must"),
    (lambda: metrics.prediction_errors(GOOD_M, np.ones(3), GOOD_M), ValueError, "b_star"),
    (lambda: metrics.prediction_errors(GOOD_M, None, np.eye(2)), ValueError, "prediction"),
    (lambda: metrics.prediction_errors(np.ones((2, 3)), None, GOOD_M), ValueError, "Z"),
    (lambda: metrics.block_cosines(GOOD_M, [0, 1]), ValueError, "clusters"),
    (lambda: metrics.block_cosines(GOOD_M, [0, 1, 1], by="both"), ValueError, "by"),
    (lambda: metrics.cluster_spread(GOOD_M, [1, 1]), ValueError, "Z"),
    (lambda: metrics.cluster_spread(GOOD_M, [1, 1, 1], rtol=-1), ValueError, "rtol"),
    (lambda: metrics.mean_prediction(np.ones((2, 3)), GOOD_M), ValueError, "W and M"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_is_named(case):
    call, kind, named = BAD[case]
    with pytest.raises(kind, match=named):
        call()


def test_a_report_of_no_statistics_is_named():
    with pytest.raises(TypeError, match="statistics must be ClassStatistics"):
        metrics.report(3)
