"""Collapse metrics on tensors: the same numbers as on arrays, on the tensor's own terms."""

from __future__ import annotations

import numpy as np
import pytest

from metric_data import random_network

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")

import ufm  # noqa: E402
from ufm import metrics  # noqa: E402


@pytest.fixture
def network():
    return random_network(seed=3)


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def test_reports_agree(network):
    features, labels, W, b = network
    of_arrays = metrics.report(metrics.class_statistics(features, labels), W, b)
    h, y, w, c = tensors(*network)
    found = metrics.class_statistics(h, y)
    assert all(isinstance(part, torch.Tensor) for part in (found.means, found.covariance))
    of_tensors = metrics.report(found, w, c)
    assert of_tensors.to_dict() == pytest.approx(of_arrays.to_dict(), rel=1e-9)
    assert of_tensors.warnings == of_arrays.warnings
    assert of_tensors.cdnv.between_clusters == pytest.approx(
        of_arrays.cdnv.between_clusters, nan_ok=True
    )


def test_classes_without_samples(network):
    reports = []
    for h, y, w, c in (network, tensors(*network)):
        found = metrics.class_statistics(h[y != 3], y[y != 3], 7)
        assert bool(metrics._arrays.namespace(h).isnan(found.means[3]).all())
        reports.append(metrics.report(found, w, c).to_dict())
    assert reports[0] == pytest.approx(reports[1], rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_is_computed_in_float64(network, dtype):
    h, y, w, c = tensors(*network)
    low = [x.to(dtype) for x in (h, w, c)]
    one = metrics.report(metrics.class_statistics(low[0], y), low[1], low[2]).to_dict()
    low = [x.double() for x in low]
    assert one == metrics.report(metrics.class_statistics(low[0], y), low[1], low[2]).to_dict()


def test_gradients_and_inputs_are_left_alone(network):
    h, y, w, c = tensors(*network)
    h.requires_grad_(True)
    w.requires_grad_(True)
    before = h.detach().clone(), w.detach().clone()
    found = metrics.class_statistics(h, y)
    metrics.report(found, w, c)
    assert not found.means.requires_grad
    assert torch.equal(h, before[0]) and torch.equal(w, before[1])


def test_arrays_may_stand_beside_tensors(network):
    features, labels, W, b = network
    found = metrics.class_statistics(features, labels)
    M, w = tensors(found.means, W)
    value = metrics.nc1(M, found.covariance, found.counts)
    assert float(value) == pytest.approx(
        float(metrics.nc1(found.means, found.covariance, found.counts))
    )
    assert metrics.nc3(w, found.means) == metrics.nc3(W, found.means)
    assert float(metrics.nc4(torch.from_numpy(features), M, W, b)) == float(
        metrics.nc4(features, found.means, W, b)
    )
    assert metrics.nc5(M, features[0]) == pytest.approx(metrics.nc5(found.means, features[0]))


def test_tensors_against_a_solution():
    solution = ufm.solve([50, 50, 20, 20], 0.01, 0.02)
    W, H = solution.factors()
    w, m = tensors(W, H.T.copy())
    errors = metrics.prediction_errors((w, m), torch.from_numpy(solution.b.copy()), solution)
    assert errors.Z_relative < 1e-12 and errors.b_relative == 0.0
    grams = metrics.predicted_grams(solution, solution.counts, 0.01, 0.01)
    assert metrics.gram_errors(w, m, grams).M < 1e-12
    clusters = metrics.clusters_of(solution.counts)
    assert metrics.block_cosines((w, m), clusters).mean == pytest.approx(
        metrics.block_cosines(solution, clusters).mean, abs=1e-12
    )
    spread = metrics.cluster_spread((w, m), solution.counts, lambda_z=0.01)
    expected = metrics.cluster_spread(solution, solution.counts, lambda_z=0.01)
    assert [one.spread for one in spread] == pytest.approx([one.spread for one in expected])
    assert float(metrics.factor_balance(w, m, solution.counts, 0.01, 0.01)) < 1e-12


def test_bad_tensors_are_named():
    with pytest.raises(TypeError, match="labels must hold integers"):
        metrics.class_statistics(torch.ones(2, 2), torch.ones(2))
    with pytest.raises(TypeError, match="M must hold real numbers"):
        metrics.nc2(torch.ones(3, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="M must be finite"):
        metrics.nc2(torch.full((3, 2), float("nan")))
