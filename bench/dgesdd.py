"""A whole solve against one singular value decomposition of the same size, in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import lapack

import ufm
from bench.cases import LAMBDA_B, Array, Case
from bench.gap import judge

SEED = 0


def decompose(matrix: Array) -> Array:
    """Call LAPACK's dgesdd with vectors and its best workspace; return the singular values."""
    work, _ = lapack.dgesdd_lwork(*matrix.shape, compute_uv=1, full_matrices=0)
    _, values, _, info = lapack.dgesdd(matrix, compute_uv=1, full_matrices=0, lwork=int(work))
    if info:
        raise AssertionError(f"dgesdd returned {info}")
    return np.asarray(values)


def matrix_of(size: int) -> Array:
    """A Gaussian matrix, stored by columns as LAPACK wants it."""
    return np.asfortranarray(np.random.default_rng(SEED).standard_normal((size, size)))


def seconds_of(action: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times


def solver(case: Case, method: str, tol: float) -> Callable[[], ufm.Solution]:
    counts, lambda_z = case.counts, case.lambda_z
    return lambda: ufm.solve(counts, lambda_z, LAMBDA_B, tol=tol, method=method)


def check(solution: ufm.Solution, case: Case, tol: float) -> float:
    """Return the recomputed gap, which must be what was asked for."""
    gap = judge(solution.Z, solution.b, case).relative
    if not solution.converged or gap > tol:
        raise AssertionError(f"{case.key}: {solution!r}, but the judge finds {gap:.2e}")
    return gap


def ratio(
    size: int, factor: float, method: str, tol: float = 1e-6, repeats: int = 3
) -> dict[str, Any]:
    """Median times of the solve and of dgesdd, taken in turns, and their ratio."""
    case = Case("distinct", size, factor)
    matrix, solve = matrix_of(size), solver(case, method, tol)
    decompose(matrix)
    solution = solve()
    gap = check(solution, case, tol)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        theirs += seconds_of(lambda: decompose(matrix), 1)
        ours += seconds_of(solve, 1)
    solve_seconds, svd_seconds = statistics.median(ours), statistics.median(theirs)
    return {
        "size": size,
        "factor": factor,
        "method": method,
        "ran": solution.method,
        "iterations": solution.iterations,
        "gap": gap,
        "solve_seconds": solve_seconds,
        "dgesdd_seconds": svd_seconds,
        "ratio": solve_seconds / svd_seconds,
    }
