"""The oracles themselves, against closed forms, CVXPY, finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import grouped_oracle, numpy_oracle
from oracles.cvxpy_oracle import solve_conic
from oracles.reference_solver import solve_reference


def balanced(K: int, count: float, lambda_z: float) -> np.ndarray:
    """Closed form of equal counts (theory, fact 8)."""
    ratio = 1.0 / (lambda_z * np.sqrt(count)) - K + 1.0
    return np.log(max(ratio, 1.0)) * (np.eye(K) - 1.0 / K)


@pytest.mark.parametrize("K", [2, 3, 17])
@pytest.mark.parametrize("fraction", [1e-14, 1e-9, 1e-4, 0.1, 0.9, 1.1])
@pytest.mark.parametrize("lambda_b", [0.0, 0.02, np.inf])
def test_closed_form_of_equal_counts_has_no_gap(K, fraction, lambda_b):
    counts = np.full(K, 40.0)
    lambda_z = fraction * np.sqrt(40.0) / counts.sum()
    Z, b = balanced(K, 40.0, lambda_z), np.zeros(K)
    certificate = numpy_oracle.certificate(Z, b, counts, lambda_z, lambda_b)
    assert abs(certificate.relative_gap) <= 1e-12
    assert numpy_oracle.kkt_residuals(Z, b, counts, lambda_z, lambda_b).largest <= 1e-10


def test_gap_is_positive_away_from_the_optimum():
    rng = np.random.default_rng(0)
    counts = np.array([50.0, 20.0, 20.0, 3.0])
    best = solve_reference(counts, 0.02, 0.01).objective
    for _ in range(50):
        Z, b = rng.normal(size=(4, 4)), rng.normal(size=4)
        certificate = numpy_oracle.certificate(Z, b, counts, 0.02, 0.01)
        assert certificate.dual <= best * (1 + 1e-10) <= certificate.primal * (1 + 2e-10)


def test_gradient_matrix_is_minus_the_gradient():
    rng = np.random.default_rng(1)
    counts, weights = np.array([7.0, 30.0, 30.0, 2.0]), np.array([1.0, 0.3, 0.3, 5.0])
    X, b = rng.normal(size=(4, 4)), rng.normal(size=4)
    direction, step = rng.normal(size=(4, 4)), 1e-6
    pi = numpy_oracle.loss_weights(counts, weights)

    def loss(t: float) -> float:
        return float(pi @ numpy_oracle.predictions((X + t * direction) / np.sqrt(counts), b).loss)

    slope = (loss(step) - loss(-step)) / (2 * step)
    G = numpy_oracle.gradient_matrix(X / np.sqrt(counts), b, counts, weights)
    assert slope == pytest.approx(-np.sum(G * direction), rel=1e-7)


def test_far_logits_neither_overflow_nor_lose_the_miss():
    Z = np.array([[800.0, 0.0], [0.0, -800.0]])
    p = numpy_oracle.predictions(Z, np.zeros(2))
    assert p.miss[0] == 0.0 and p.loss[0] == 0.0  # exp(-800) underflows
    assert p.loss[1] == 800.0 and p.miss[1] == 1.0
    near = numpy_oracle.predictions(np.diag([40.0, 40.0]), np.zeros(2))
    assert near.miss == pytest.approx(np.exp(-40.0), rel=1e-13)


@pytest.mark.parametrize("lambda_b", [0.0, 1e-3, 0.02, np.inf])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 2.0, 0.5, 9.0)])
def test_lambda_max_separates_zero_from_nonzero(lambda_b, weights):
    counts = (500.0, 300.0, 300.0, 20.0, 7.0)
    top = numpy_oracle.lambda_max(counts, lambda_b, weights)
    above = solve_reference(counts, 1.0001 * top, lambda_b, weights)
    below = solve_reference(counts, 0.99 * top, lambda_b, weights)
    assert not above.Z.any()
    assert np.abs(below.Z).max() > 1e-3


@pytest.mark.parametrize("lambda_b", [0.0, 0.03, np.inf])
@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 1.0, 4.0)])
def test_reference_and_conic_solvers_agree(lambda_b, weights):
    counts = (90.0, 25.0, 25.0, 4.0)
    reference = solve_reference(counts, 0.01, lambda_b, weights)
    conic = solve_conic(counts, 0.01, lambda_b, weights)
    assert abs(reference.relative_gap) <= 1e-10
    assert conic.objective == pytest.approx(reference.objective, rel=1e-8)
    assert np.abs(conic.Z - reference.Z).max() < 1e-3


@pytest.mark.parametrize("lambda_b", [0.02, np.inf])
@pytest.mark.parametrize("lambda_z", [1e-5, 0.002])
def test_grouped_certificate_is_the_dense_one(lambda_z, lambda_b):
    sizes, levels = np.array([4, 3, 1, 2]), np.array([300.0, 40.0, 20.0, 6.0])
    counts, first = np.repeat(levels, sizes), np.array([0, 4, 7, 8])
    second = first + np.array([1, 1, 0, 1])  # another class of the cluster, where there is one
    point = solve_reference(counts, lambda_z, lambda_b, max_iterations=100)  # not yet optimal
    other = point.Z[np.ix_(second, first)]
    own = np.diag(point.Z)[first]
    blocks = grouped_oracle.Blocks(own, other, point.b[first], levels, sizes.astype(float))
    grouped = grouped_oracle.certificate(blocks, lambda_z, lambda_b)
    dense = numpy_oracle.certificate(point.Z, point.b, counts, lambda_z, lambda_b)
    assert grouped.primal == pytest.approx(dense.primal, rel=1e-12)
    assert grouped.dual == pytest.approx(dense.dual, rel=1e-12)
