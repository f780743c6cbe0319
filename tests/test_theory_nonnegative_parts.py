"""The parts of the solver for nonnegative features, each against dense or exhaustive numpy."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import nonnegative_oracle, numpy_oracle
from profiles import examples
from ufm.theory import _nonnegative_certificate as certificates
from ufm.theory._bounded_newton import minimise
from ufm.theory._doubly_nonnegative import doubly_nonnegative_bound
from ufm.theory._nonnegative_atoms import AtomProblem, Atoms
from ufm.theory._nonnegative_loss import ClusterLoss
from ufm.theory._nonnegative_solve import solve, start
from ufm.theory._orthant import Budget, orthant_maximum

SIZE = np.array([3.0, 2.0, 1.0])
COUNT = np.array([16.0, 9.0, 4.0])
CLUSTER = np.repeat([0, 1, 2], [3, 2, 1])


def problem(lambda_x: float = 0.05, lambda_b: float = 0.02) -> AtomProblem:
    loss = ClusterLoss(SIZE, np.sqrt(COUNT / 16), COUNT / (SIZE @ COUNT))
    return AtomProblem(loss, lambda_x, lambda_b, np.ones(3, dtype=bool))


def some_atoms(seed: int, width: int = 4) -> Atoms:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(3, width)) for _ in range(4)]
    parts[1][2] = parts[3][2] = 0.0  # a cluster of one class has no differences
    parts[2], parts[3] = np.abs(parts[2]), np.abs(parts[3])
    return Atoms(*parts, rng.normal(size=3))


def dense_matrix(M, alpha):
    """Q M Q^T plus alpha (I - J/k) in the blocks."""
    Q = np.zeros((6, 3))
    Q[np.arange(6), CLUSTER] = 1 / np.sqrt(SIZE[CLUSTER])
    X = Q @ M @ Q.T
    for i in range(3):
        own = CLUSTER == i
        k = int(SIZE[i])
        X[np.ix_(own, own)] += alpha[i] * (np.eye(k) - 1 / k)
    return X


def brute_force(B):
    best = -math.inf
    for size in range(1, B.shape[0] + 1):
        for support in combinations(range(B.shape[0]), size):
            values, vectors = np.linalg.eigh(B[np.ix_(support, support)])
            u = vectors[:, -1]
            if (u >= -1e-9).all() or (u <= 1e-9).all():
                best = max(best, float(values[-1]))
    return best


# ---------------------------------------------------------------------- loss and atoms


def test_loss_by_clusters_is_the_dense_loss():
    atoms = some_atoms(0)
    M, alpha = problem().blocks(atoms)
    Z = dense_matrix(M, alpha) / np.sqrt(COUNT / 16)[CLUSTER]
    n = COUNT[CLUSTER]
    expected = n / n.sum() @ numpy_oracle.predictions(Z, atoms.b[CLUSTER]).loss
    point = problem().at(atoms).point
    assert point.total == pytest.approx(expected, rel=1e-13)
    G, within = certificates.dual_matrix(point)
    # In the scale where the largest root of the counts is 1.
    dense = numpy_oracle.gradient_matrix(Z, atoms.b[CLUSTER], n) * 4.0
    np.testing.assert_allclose(dense_matrix(G, within * (SIZE > 1)), dense, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_and_curvature(seed):
    p, atoms = problem(), some_atoms(seed)
    vector, h = atoms.pack(), 1e-6
    point = p.at(atoms)
    gradient = point.gradient()
    direction = some_atoms(seed + 10).pack()

    def at(t: float):
        return p.at(Atoms.unpack(vector + t * direction, 3))

    slope = (at(h).value - at(-h).value) / (2 * h)
    assert slope == pytest.approx(float(gradient @ direction), rel=1e-7)
    bend = (at(h).gradient() - at(-h).gradient()) / (2 * h)
    np.testing.assert_allclose(point.curvature(direction), bend, rtol=1e-6, atol=1e-8)


def test_newton_stops_at_a_bound_and_leaves_a_saddle():
    class Saddle:
        """(x^2 - 1)^2 + (y + 1)^2 with y >= 0, started at the saddle x = 0."""

        def __init__(self, vector):
            self.x, self.y = vector
            self.value = (self.x**2 - 1) ** 2 + (self.y + 1) ** 2

        def gradient(self):
            return np.array([4 * self.x * (self.x**2 - 1), 2 * (self.y + 1)])

        def curvature(self, direction):
            return np.array([12 * self.x**2 - 4, 2.0]) * direction

    bounded = np.array([False, True])
    found = minimise(
        Saddle,
        np.array([1e-3, 5.0]),
        bounded,
        residual=1e-10,
        max_iterations=100,
        stop=lambda: False,
    )
    np.testing.assert_allclose(found.vector, [1.0, 0.0], atol=1e-9)
    assert found.vector[1] == 0.0 and found.iterations < 30


# ---------------------------------------------------------------------- largest over u >= 0


@examples(60)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(-1.0, 1.0))
def test_branch_and_bound_is_exhaustive_search(seed, size, shift):
    A = np.random.default_rng(seed).normal(size=(size, size))
    B = A + A.T + shift + 4.0 * np.eye(size)
    expected = brute_force(B)
    for programs in (0, 30):
        budget = Budget(nodes=10**6, programs=programs)
        found = orthant_maximum(B, 1e-9, 0.0, budget)
        assert found.exact
        assert found.bound == pytest.approx(max(expected, 1e-9), rel=1e-9)
        for value, u in found.vectors:
            assert (u >= 0).all() and np.linalg.norm(u) == pytest.approx(1.0)
            assert u @ B @ u == pytest.approx(value, rel=1e-9)
        if expected > 1e-9:
            assert found.vectors[0][0] == pytest.approx(expected, rel=1e-9)


@examples(40)
@given(st.integers(0, 10**6), st.integers(3, 8), st.integers(0, 4))
def test_a_search_cut_short_still_bounds(seed, size, nodes):
    A = np.random.default_rng(seed).normal(size=(size, size))
    B = A + A.T + 4.0 * np.eye(size)
    found = orthant_maximum(B, 0.0, 0.0, Budget(nodes=nodes, programs=nodes // 2))
    assert found.bound >= brute_force(B) * (1 - 1e-12)


@examples(40)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_semidefinite_bound(seed, size):
    A = np.random.default_rng(seed).normal(size=(size, size))
    B = A + A.T
    bound = doubly_nonnegative_bound(B, -math.inf)
    below = doubly_nonnegative_bound(B, brute_force(B) + 1e-7 * np.abs(B).max())
    for value in (bound, below):
        assert value >= brute_force(B) - 1e-10 * np.abs(B).max()
    if size <= 4:  # there the bound is known to be tight
        assert below == pytest.approx(brute_force(B), abs=1e-6 * np.abs(B).max())


@examples(40)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0))
def test_the_level_matrix_tells_feasibility(seed, spread):
    rng = np.random.default_rng(seed)
    G, within = rng.normal(size=(3, 3)), np.abs(rng.normal(size=3)) * spread * (SIZE > 1)
    largest = nonnegative_oracle.polar(dense_matrix(G, within))
    for factor, feasible in ((1 - 1e-6, False), (1 + 1e-6, True)):
        level = factor * largest
        B, _ = certificates.orthant_matrix(problem(), G, within, level)
        assert (brute_force(B) <= level**2) == feasible


# ---------------------------------------------------------------------- leaving a dead end


def test_features_that_are_missing_are_found():
    p = problem()
    whole = solve(p, start(p), tol=1e-9, max_iterations=None, time_limit=60.0)
    assert whole.certificate.relative_gap <= 1e-9
    for keep in ([False] * 3, [True, False, False], [False, True, True]):
        begin = start(p).chosen(np.array(keep))
        outcome = solve(p, begin, tol=1e-9, max_iterations=None, time_limit=60.0)
        assert outcome.certificate.relative_gap <= 1e-9
        assert outcome.certificate.primal == pytest.approx(whole.certificate.primal, rel=2e-9)
        assert outcome.atoms.width >= whole.atoms.width
