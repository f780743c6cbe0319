"""Problems for the tests: a record, how to draw them, and what every solution must satisfy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from oracles.numpy_oracle import Array, Certificate

# Every general-purpose method; a new one joins all comparisons by being named here.
METHODS = ("auto", "factored", "proximal", "continuum")

ROUNDING = 1e-12


@dataclass(frozen=True)
class Problem:
    """One convex UFM. The counts are a tuple so that hypothesis prints something to paste."""

    counts: tuple[float, ...]
    lambda_z: float
    lambda_b: float
    class_weights: tuple[float, ...] | None = None

    def solve(self, **options: Any) -> ufm.Solution:
        """Call `ufm.solve` on this problem."""
        options.setdefault("class_weights", self.class_weights)
        return ufm.solve(self.counts, self.lambda_z, self.lambda_b, **options)

    def arguments(self) -> tuple[Array, float, float, tuple[float, ...] | None]:
        """Arguments of the oracles after ``Z, b``."""
        return np.asarray(self.counts, float), self.lambda_z, self.lambda_b, self.class_weights

    def replace(self, **changes: Any) -> Problem:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def two_clusters(
    sizes: tuple[int, int], counts: tuple[float, float], lambda_z: float, lambda_b: float = 0.02
) -> Problem:
    """Return the problem of ``sizes[i]`` classes of ``counts[i]`` samples each."""
    return Problem(
        (counts[0],) * sizes[0] + (counts[1],) * sizes[1], lambda_z, lambda_b, class_weights=None
    )


def certify(problem: Problem, solution: ufm.Solution) -> Certificate:
    """Recompute primal, dual and gap from the dense ``Z`` and ``b``."""
    return numpy_oracle.certificate(solution.Z, solution.b, *problem.arguments())


def assert_certified(
    problem: Problem, solution: ufm.Solution, tol: float = 1e-6, *, must_converge: bool = True
) -> Certificate:
    """Hold a solution to its own claims, all recomputed in numpy; return the certificate."""
    K = len(problem.counts)
    Z, b = solution.Z, solution.b
    assert Z.shape == (K, K) and b.shape == (K,)
    assert np.isfinite(Z).all() and np.isfinite(b).all()
    if problem.lambda_b == math.inf:
        assert not b.any()
    certificate = certify(problem, solution)
    # Large problems may report an upper bound of the nuclear norm: never less than the truth, and
    # the same to eight digits.
    assert solution.objective >= certificate.primal * (1 - 1e-11)
    assert solution.objective <= certificate.primal * (1 + 1e-8) + 1e-300
    assert solution.dual_objective <= solution.objective * (1 + ROUNDING)
    assert solution.relative_gap >= certificate.relative_gap - rounding_of_gap(problem, certificate)
    assert solution.converged == (solution.status is ufm.Status.CONVERGED)
    assert solution.converged == (solution.relative_gap <= tol)
    if must_converge:
        assert solution.converged, solution.summary()
    if solution.converged and problem.lambda_b == 0:
        # The dual point of an unregularised bias is feasible only if this residual vanishes; a
        # residual r shifts the lower bound by at most |r . b|.
        residual = numpy_oracle.bias_residual(Z, b, problem.counts, problem.class_weights)
        assert np.abs(residual).max() <= 1e-9
        assert np.abs(residual).sum() * np.abs(b).max() <= tol * solution.objective
    return certificate


def rounding_of_gap(problem: Problem, certificate: Certificate) -> float:
    """Relative gap that rounding alone can cause.

    The bias enters the dual as ``|r|^2 / (2 lambda_b)``, where every entry of ``r`` is a difference
    of numbers up to 1: for a vanishing lambda_b no sum of doubles makes that term small.
    """
    if problem.lambda_b == 0:
        return ROUNDING
    noise = len(problem.counts) * (10 * np.finfo(float).eps) ** 2 / (2 * problem.lambda_b)
    return float(ROUNDING + noise / max(certificate.primal, 1e-300))


@st.composite
def counts_tuples(
    draw: st.DrawFn,
    *,
    min_classes: int = 2,
    max_classes: int = 60,
    max_count: int = 10**6,
    max_distinct: int = 60,
) -> tuple[float, ...]:
    """Draw class counts, log-uniform, with many or few ties, in any order."""
    K = draw(st.integers(min_classes, max_classes))
    distinct = draw(st.integers(1, min(K, max_distinct)))
    exponent = st.floats(0.0, math.log10(max_count))
    levels = [float(round(10 ** draw(exponent))) for _ in range(distinct)]
    seed = draw(st.integers(0, 2**16))
    chosen = np.random.default_rng(seed).integers(0, distinct, size=K)
    return tuple(levels[i] for i in chosen)


def biases() -> st.SearchStrategy[float]:
    """Draw lambda_b: none, unregularised, or log-uniform between 1e-5 and 10."""
    return st.one_of(
        st.sampled_from([math.inf, 0.0, 0.01]), st.floats(-5.0, 1.0).map(lambda e: 10.0**e)
    )


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    max_classes: int = 60,
    max_count: int = 10**6,
    max_distinct: int = 60,
    smallest: float = 1e-8,
    weighted: bool = True,
    relative: bool = False,
) -> Problem:
    """Draw a problem with lambda_z log-uniform from ``smallest`` to above lambda_max.

    With ``relative`` the lower end is ``smallest * lambda_max``.
    """
    counts = draw(
        counts_tuples(max_classes=max_classes, max_count=max_count, max_distinct=max_distinct)
    )
    lambda_b = draw(biases())
    weights = draw(_class_weights(counts)) if weighted and draw(st.booleans()) else None
    top = numpy_oracle.lambda_max(counts, lambda_b, weights)
    if top <= 0:  # one class
        top = 1.0
    bottom = smallest * top if relative else min(smallest, top)
    lambda_z = 10 ** draw(st.floats(math.log10(bottom), math.log10(1.5 * top)))
    return Problem(counts, lambda_z, lambda_b, weights)


@st.composite
def _class_weights(draw: st.DrawFn, counts: tuple[float, ...]) -> tuple[float, ...]:
    """Draw weights: class-balanced, or a function of the count, or one independent draw each."""
    kind = draw(st.sampled_from(["balanced", "root", "free"]))
    n = np.asarray(counts)
    if kind == "balanced":
        return tuple(float(v) for v in n.sum() / (n.size * n))
    if kind == "root":
        return tuple(float(v) for v in 1.0 / np.sqrt(n))
    seed = draw(st.integers(0, 2**16))
    values = np.random.default_rng(seed).choice([0.1, 0.5, 1.0, 2.0, 10.0], size=n.size)
    return tuple(float(v) for v in values)
