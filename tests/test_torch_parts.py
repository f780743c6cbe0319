"""Parts of the PyTorch solver: grouping, norm bound, amplitudes and derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")

from ufm.torch import _problem, _spectral  # noqa: E402
from ufm.torch._loss import BlockLoss, solve_spread  # noqa: E402
from ufm.torch._monitor import Monitor  # noqa: E402

CPU = torch.device("cpu")
DTYPES = [torch.float64, torch.float32]


def test_ties_in_both_keys_make_a_cluster():
    grouped = _problem.group(
        np.array([5.0, 9.0, 5.0, 5.0]), np.array([1.0, 2.0, 1.0, 3.0]), 0.1, math.inf
    )
    assert grouped.cluster_of.tolist() == [2, 0, 2, 1]
    assert grouped.multiplicity.tolist() == [1.0, 1.0, 2.0]
    assert grouped.count.tolist() == [9.0, 5.0, 5.0]
    assert grouped.loss_weight == pytest.approx(np.array([18.0, 15.0, 5.0]) / 24.0)


@pytest.mark.parametrize("block", [16, 64, 200])
def test_norm_bound_is_tight_and_never_below(monkeypatch, block):
    monkeypatch.setattr(_spectral, "_BLOCK_CPU", block)
    rng = np.random.default_rng(3)
    for decay in (0.0, 0.01, 0.3):
        values = np.exp(-decay * np.arange(200))
        left, right = (np.linalg.qr(rng.normal(size=(200, 200)))[0] for _ in range(2))
        matrix = torch.from_numpy((left * values) @ right)
        bound = _spectral.operator_norm(matrix, Monitor())
        assert 1.0 - 1e-12 <= bound.upper <= 1.0 + 2e-10
        assert float(bound.row @ matrix @ bound.column) == pytest.approx(bound.estimate)


def test_a_bound_too_low_is_not_proved():
    matrix = torch.diag(torch.linspace(0.1, 1.0, 300, dtype=torch.float64))
    proof = _spectral.GramProof(matrix, CPU, 64, Monitor())
    assert not proof.holds(1.0 - 1e-9, Monitor())
    assert proof.holds(1.0 + 1e-9, Monitor())
    assert not proof.holds(0.05, Monitor())  # the tests do not disturb each other
    assert proof.holds(1.0 + 1e-9, Monitor())


def test_random_start_factor():
    assert _spectral.random_start_factor(50_000, 5) == math.inf
    assert 1.0 < _spectral.random_start_factor(50_000, 400) < 1.001


def test_spread_solves_its_equation():
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(rng.uniform(1e-12, 1.0, 500))
    k = torch.from_numpy(rng.integers(2, 1000, 500).astype(float))
    log_others = torch.from_numpy(rng.uniform(-800, 800, 500))
    d = solve_spread(log_others, k, theta)
    odds = (1.0 - theta) / theta
    right = torch.logaddexp((1.0 + odds * k).log(), odds.log() + log_others + d / k)
    assert bool((d >= 0).all())
    assert float(((d - right).abs() / (1.0 + d)).max()) < 1e-12


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_derivatives(dtype):
    """Gradient and Hessian products against differences of the value, with ties and without."""
    counts = np.array([40.0, 40.0, 40.0, 25.0, 9.0, 9.0, 4.0, 1.0])
    problem = _problem.group(counts, None, 0.3 * 2.0 / counts.sum(), 0.02)
    loss = BlockLoss(problem, CPU)
    generator = torch.Generator().manual_seed(1)
    matrix, change = (
        torch.randn(5, 5, generator=generator, dtype=torch.float64) * scale for scale in (5, 1)
    )
    bias, bias_change = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in "ab")

    def state(t):
        return loss.evaluate(matrix + t * change, bias + t * bias_change)

    def slope_along(at):
        return float((at.slope * change).sum() + loss.bias_gradient(at) @ bias_change)

    h = 1e-5
    here, ahead, behind = state(0.0), state(h), state(-h)
    slope = (ahead.value - behind.value) / (2 * h)
    assert slope_along(here) == pytest.approx(slope, rel=1e-7, abs=1e-10)
    curvature = (slope_along(ahead) - slope_along(behind)) / (2 * h)
    product = change.to(dtype, copy=True)
    at = loss.curvature(here, dtype)
    product_bias = loss.hessian_product(at, product, bias_change.to(dtype))
    along = float((product * change).sum() + product_bias.to(torch.float64) @ bias_change)
    exact = dtype is torch.float64
    assert along == pytest.approx(curvature, rel=1e-6 if exact else 1e-4)
    alone = loss.hessian_product(at, None, bias_change.to(dtype))
    with_zero = loss.hessian_product(at, torch.zeros(5, 5, dtype=dtype), bias_change.to(dtype))
    assert torch.equal(alone, with_zero)
