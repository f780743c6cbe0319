"""Very many classes: 50,000 in 64 dimensions, where K x K doubles would be 20 GB."""

from __future__ import annotations

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

import ufm
from ufm import metrics

K, DIM = 50_000, 64
MIB = 2**20


@contextmanager
def at_most(mebibytes):
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * MIB, f"{peak / MIB:.0f} MiB at the peak"


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    M = rng.normal(size=(K, DIM))
    counts = np.where(np.arange(K) < K // 2, 4.0, 2.0)
    return M, M + 0.1 * rng.normal(size=M.shape), rng.normal(size=K), counts


def test_statistics_of_many_classes():
    rng = np.random.default_rng(1)
    labels = np.tile(np.arange(K), 4)
    features = rng.normal(size=(labels.size, DIM)).astype(np.float32)
    with at_most(300):
        found = metrics.class_statistics(features, labels)
    assert found.counts.min() == found.counts.max() == 4
    four = features.reshape(4, K, DIM).astype(float)
    np.testing.assert_allclose(found.means, four.mean(0), atol=1e-14)
    np.testing.assert_allclose(found.variances, ((four - four.mean(0)) ** 2).sum(2).mean(0))


def test_linear_metrics(network):
    M, W, b, counts = network
    with at_most(200):
        value = metrics.nc1(M, 0.01 * np.eye(DIM), counts)
        metrics.nc1_trace_ratio(M, 0.64, counts)
        dual = metrics.nc3(W, M)
        metrics.unc3(W, M)
        metrics.factor_balance(W, M, counts, 0.1, 0.1)
        metrics.bias_cancellation(W, M.mean(0), b)
        cosines = metrics.block_cosines((W, M), metrics.clusters_of(counts))
        spread = metrics.cluster_spread((W, M), counts)
    # Independent normal means: Sigma_B is nearly the identity.
    assert float(value) == pytest.approx(0.01 * DIM / K, rel=0.01)
    assert dual.product_distance == pytest.approx(np.sqrt(2 - 2 * np.sqrt(DIM / K)), rel=1e-3)
    assert abs(cosines.mean).max() < 1e-3
    assert [cluster.multiplicity for cluster in spread] == [K // 2, K // 2]


def test_one_report_by_tiles(network):
    """Smaller, so that all pairs are quick; still far below the 200 MB of one K x K matrix."""
    M, W, b, _ = (part[:5000] for part in network)
    counts = np.where(np.arange(5000) < 2500, 4.0, 2.0)
    found = metrics.ClassStatistics(counts, M, np.ones(5000), np.eye(DIM))
    with at_most(100):
        values = metrics.report(found, W, b).to_dict()
    # Tiles against the plain way.
    C = M - (counts @ M) / counts.sum()
    unit = C / np.linalg.norm(C, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[np.triu_indices(5000, 1)]
    assert values["nc2_cosine_deviation"] == pytest.approx(cosine.std())
    assert values["nc2_equiangularity"] == pytest.approx(abs(cosine + 1 / 4999).mean())
    logs = -0.5 * np.log(2 - 2 * cosine)
    assert values["gnc2_mean"] == pytest.approx(logs.mean())
    assert values["gnc2_variance"] == pytest.approx(logs.var())


def test_errors_against_a_solution_by_tiles():
    counts = np.repeat([40, 10], 2500)
    solution = ufm.solve(counts, 0.5 * np.sqrt(10) / counts.sum(), 0.02)
    rng = np.random.default_rng(0)
    W, M = rng.normal(size=(2, 5000, 8))
    with at_most(100):
        errors = metrics.prediction_errors((W, M), solution.b, solution)
        grams = metrics.predicted_grams(solution, counts, 0.1, 0.1)
        metrics.gram_errors(W, M, grams)
        metrics.block_cosines(solution, metrics.clusters_of(counts))
    scale = np.sqrt(((W.T @ W) * (M.T @ M)).sum())
    star = np.sqrt((solution.blocks.own**2).sum() * 2500)
    assert scale / star / 1.2 < errors.Z_relative < scale / star * 1.2


@pytest.mark.slow
def test_all_pairs_of_fifty_thousand(network):
    """More than 1.2 thousand million pairs: about half a minute of one core."""
    with at_most(200):
        result = metrics.nc2(network[0])
    assert result.cosine_deviation == pytest.approx(1 / np.sqrt(DIM), rel=0.01)
    assert result.equiangularity == pytest.approx(np.sqrt(2 / np.pi / DIM), rel=0.01)
