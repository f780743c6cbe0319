"""The core's value, gradients, Hessian products and certificate at points that are no optima."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oracles.loss_oracle import LossProblem
from ufm import _core

SIZES = np.array([3, 1, 4, 2])
COUNTS = np.array([40.0, 20.0, 20.0, 3.0])
SCALES = np.array([0.5, 1.7, 0.9, 2.0])
OFFSETS = np.array([-1.0, 2.0, 0.5, -3.0])
WEIGHTS = np.array([1.0, 0.4, 2.0, 3.0])


class Point:
    """One point by clusters, its dense form, and what the core says of it."""

    def __init__(self, smoothing: float, relative_lambda_z: float, lambda_b: float, seed: int):
        rng = np.random.default_rng(seed)
        C = SIZES.size
        self.m = 3.0 * rng.standard_normal((C, C))
        self.bias = np.zeros(C) if math.isinf(lambda_b) else rng.standard_normal(C)
        cluster_of = np.repeat(np.arange(C), SIZES)
        lambda_z = relative_lambda_z * np.sqrt(20) / (COUNTS @ SIZES)
        self.problem = LossProblem(
            COUNTS[cluster_of],
            lambda_z,
            lambda_b,
            smoothing,
            SCALES[cluster_of],
            OFFSETS[cluster_of],
            WEIGHTS[cluster_of],
        )
        self.indicator = (cluster_of[:, None] == np.arange(C)) / np.sqrt(SIZES)  # K x C

    def core(self, dm=None, dbias=None, norm=0.0, interpolated_bias=False):
        C = SIZES.size
        return _core.loss_at(
            COUNTS,
            WEIGHTS * COUNTS / (COUNTS @ SIZES),
            SIZES.astype(float),
            SCALES,
            OFFSETS,
            self.problem.smoothing,
            self.problem.lambda_z,
            self.problem.lambda_b,
            self.m,
            self.bias,
            np.zeros((C, C)) if dm is None else dm,
            np.zeros(C) if dbias is None else dbias,
            norm,
            interpolated_bias,
        )

    def dense(self, amplitudes):
        between = self.indicator @ self.m @ self.indicator.T
        within = np.zeros_like(between)
        for i, alpha in enumerate(amplitudes):
            own = self.indicator[:, i] > 0
            within[np.ix_(own, own)] = alpha * (np.eye(SIZES[i]) - 1 / SIZES[i])
        Z = (between + within) / np.sqrt(self.problem.counts)
        return Z, self.indicator @ self.bias

    def value(self, amplitudes):
        """Loss and penalty of the amplitudes, from the dense matrix."""
        within = self.problem.lambda_z * float((SIZES - 1) @ amplitudes)
        return self.problem.loss(*self.dense(amplitudes)) + within


@pytest.fixture(params=[0.0, 0.1, 0.6], ids=lambda epsilon: f"smoothing {epsilon}")
def smoothing(request):
    return request.param


@pytest.mark.parametrize("relative", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("lambda_b", [0.05, math.inf])
def test_value_gradient_and_certificate(smoothing, relative, lambda_b):
    for seed in range(5):
        point = Point(smoothing, relative, lambda_b, seed)
        problem = point.problem
        alpha = point.core()["amplitudes"]
        norm = problem.nuclear_norm(point.dense(alpha)[0]) - float((SIZES - 1) @ alpha)
        core = point.core(norm=norm)
        assert core["value"] == pytest.approx(point.value(alpha), rel=1e-12)
        # The amplitudes are eliminated: no others are better (convex, so near ones suffice).
        for i in range(SIZES.size):
            for step in (1e-3, -1e-3):
                other = alpha.copy()
                other[i] = max(other[i] + step, 0.0)
                assert point.value(other) >= core["value"] * (1 - 1e-14)

        Z, b = point.dense(alpha)
        G, g = problem.gradient(Z, b)
        expected = point.indicator.T @ G @ point.indicator
        np.testing.assert_allclose(core["gradient"], expected, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(core["bias_gradient"], point.indicator.T @ g, atol=1e-13)

        certificate = problem.certificate(Z, b)
        assert core["primal"] == pytest.approx(certificate.primal, rel=1e-12)
        # The core may charge the bias in a second way if that is better.
        assert core["dual"] >= certificate.dual - 1e-12
        if math.isinf(lambda_b):
            assert core["dual"] == pytest.approx(certificate.dual, rel=1e-11, abs=1e-13)


def test_the_dual_value_bounds_the_optimum_from_any_point(smoothing):
    optimum = math.inf
    bounds = []
    for seed in range(20):
        point = Point(smoothing, 0.4, 0.05, seed)
        bounds.append(point.core()["dual"])
        optimum = min(optimum, point.problem.objective(*point.dense(np.zeros(4))))
    from loss_problems import solve

    solution = solve(point.problem, tol=1e-10)
    assert max(bounds) <= solution.objective * (1 + 1e-12) <= optimum


@pytest.mark.parametrize("lambda_b", [0.0, 1e-7, 0.05])
def test_the_dual_value_bounds_the_optimum_closely_beside_it(smoothing, lambda_b):
    """A bias that is a little off leaves its equation unsolved, which the dual value pays for."""
    from loss_problems import solve

    point = Point(smoothing, 0.4, lambda_b, 0)
    solution = solve(point.problem, tol=1e-11)
    assert solution.converged
    X = solution.Z * np.sqrt(point.problem.counts)
    point.m = point.indicator.T @ X @ point.indicator
    best = point.indicator.T @ solution.b
    flat = np.sqrt(SIZES) / SCALES
    flat /= np.linalg.norm(flat)
    most = {0.0: 40.0, 0.1: 80.0, 0.6: 500.0}  # lost for each unit of the bias
    rng = np.random.default_rng(1)
    for size in (1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0):
        for step in size * rng.standard_normal((10, SIZES.size)):
            point.bias = best + step - (flat @ step) * flat
            plain = solution.objective - point.core()["dual"]
            lost = solution.objective - point.core(interpolated_bias=True)["dual"]
            assert plain >= lost >= -1e-10 * solution.objective
            if size <= 1e-4:
                assert lost <= most[smoothing] * size + 1e-10


def test_hessian_products_by_differences(smoothing):
    for seed in range(5):
        point = Point(smoothing, 0.3, 0.05, seed)
        rng = np.random.default_rng(100 + seed)
        dm, dbias = rng.standard_normal((4, 4)), rng.standard_normal(4)
        core = point.core(dm, dbias)
        m, bias, h = point.m, point.bias, 1e-5
        ends = []
        for sign in (1, -1):
            point.m, point.bias = m + sign * h * dm, bias + sign * h * dbias
            ends.append(point.core())
        for product, gradient in (
            ("hessian_product", "gradient"),
            ("bias_hessian_product", "bias_gradient"),
        ):
            slope = (ends[0][gradient] - ends[1][gradient]) / (2 * h)
            np.testing.assert_allclose(core[product], slope, rtol=1e-6, atol=1e-9)
