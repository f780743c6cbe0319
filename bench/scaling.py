"""Timings of the package alone: many small problems, huge K, time against K.

Every function runs in its own process, checks its answers and returns numbers for the report.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import ufm
from bench.cases import LAMBDA_B, Array, Case, cluster_counts
from bench.gap import judge
from bench.grouped import from_solution, grouped_gap

CALLS_SECONDS = 0.5  # time spent on repeating one fast call
REPEATS, REPEAT_SECONDS = 11, 30.0  # solves of one problem, and when no further one is begun


def _verify(solution: ufm.Solution, case: Case, tol: float) -> float:
    gap = judge(solution.Z, solution.b, case).relative
    if not solution.converged or gap > tol * (1 + 1e-6) + 1e-12:
        raise AssertionError(f"{case.key}: {solution!r}, but the judge finds {gap:.2e}")
    return gap


def two_cluster_problems(number: int) -> tuple[Array, Array]:
    """Counts (number, 10) of five large and five small classes, and lambda_z (number,)."""
    rng = np.random.default_rng(0)
    small = np.round(10 ** rng.uniform(1, 3, number))
    large = np.round(small * 10 ** rng.uniform(0.05, 2, number)) + 1
    counts = np.repeat(np.stack([large, small], axis=1), 5, axis=1)
    factor = 10 ** rng.uniform(-1, 0.5, number)
    return counts, factor * np.sqrt(small) / counts.sum(axis=1)


def throughput(number: int = 2000, tol: float = 1e-6) -> list[dict[str, Any]]:
    """Two-cluster problems a second: a loop over solve, and solve_many where it exists."""
    counts, lambda_z = two_cluster_problems(number)
    ufm.solve(counts[0], lambda_z[0], LAMBDA_B, tol=tol)
    start = time.perf_counter()
    loop = [ufm.solve(c, lz, LAMBDA_B, tol=tol) for c, lz in zip(counts, lambda_z, strict=True)]
    seconds = time.perf_counter() - start
    worst = max(_grouped(solution) for solution in loop)
    rows: list[dict[str, Any]] = [
        {"call": "ufm.solve in a loop", "seconds": seconds, "worst_gap": worst}
    ]
    if hasattr(ufm, "solve_many"):
        ufm.solve_many(counts[:2], lambda_z[:2], LAMBDA_B, tol=tol)
        start = time.perf_counter()
        batch = ufm.solve_many(counts, lambda_z, LAMBDA_B, tol=tol)
        seconds = time.perf_counter() - start
        worst = max(_grouped(batch[i]) for i in range(number))
        objectives = np.array([solution.objective for solution in loop])
        np.testing.assert_allclose(batch.objective, objectives, rtol=2 * tol)
        rows.append({"call": "ufm.solve_many", "seconds": seconds, "worst_gap": worst})
    for row in rows:
        if row["worst_gap"] > tol * (1 + 1e-6) + 1e-12:
            raise AssertionError(f"{row['call']}: gap {row['worst_gap']:.2e} above {tol:g}")
        row |= {"problems": number, "per_second": number / row["seconds"]}
    return rows


def _grouped(solution: ufm.Solution) -> float:
    point = from_solution(solution)
    return grouped_gap(point, solution.lambda_z, solution.lambda_b).relative


def clusters(factors: list[float], tol: float = 1e-6) -> list[dict[str, Any]]:
    """Ten classes in three clusters: seconds a call, everything in it."""
    rows = []
    for factor in factors:
        case = Case("clusters", 10, factor)
        counts, lambda_z = case.counts, case.lambda_z
        _verify(ufm.solve(counts, lambda_z, LAMBDA_B, tol=tol), case, tol)
        times = []
        while sum(times) < CALLS_SECONDS:
            start = time.perf_counter()
            ufm.solve(counts, lambda_z, LAMBDA_B, tol=tol)
            times.append(time.perf_counter() - start)
        rows.append({"factor": factor, "seconds": statistics.median(times), "calls": len(times)})
    return rows


def huge(size: int = 300_000, tol: float = 1e-6, repeats: int = 5) -> list[dict[str, Any]]:
    """Very many classes in three clusters: seconds from the array of counts to the answer."""
    counts = cluster_counts(size)
    lambda_z = 0.5 * float(np.sqrt(counts.min())) / float(counts.sum())
    times: list[float] = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        solution = ufm.solve(counts, lambda_z, LAMBDA_B, tol=tol)
        solution.b, solution.blocks, solution.rank  # noqa: B018
        times.append(time.perf_counter() - start)
    gap = _grouped(solution)
    if gap > tol:
        raise AssertionError(f"K = {size}: gap {gap:.2e}")
    return [{"size": size, "clusters": 3, "seconds": statistics.median(times[1:]), "gap": gap}]


def distinct(size: int, factor: float, method: str, tol: float, limit: float) -> dict[str, Any]:
    """Medians of several solves with all counts different; the answer is checked up to K = 3000.

    Beyond, the gap is the solution's own: an independent dense check would take longer than
    anything here. A solve of more than half a minute is not repeated.
    """
    case = Case("distinct", size, factor)
    counts, lambda_z = case.counts, case.lambda_z
    warm = Case("distinct", 64, factor)
    ufm.solve(warm.counts, warm.lambda_z, LAMBDA_B, tol=tol, method=method)
    total: list[float] = []
    certificate: list[float] = []
    solution: ufm.Solution | None = None
    while sum(total) < REPEAT_SECONDS and len(total) < REPEATS:
        solution = None  # freed before the clock runs: tens of megabytes
        start = time.perf_counter()
        solution = ufm.solve(counts, lambda_z, LAMBDA_B, tol=tol, method=method, time_limit=limit)
        total.append(time.perf_counter() - start)
        certificate.append(solution.certificate_seconds)
    assert solution is not None
    checked = size <= 3000
    rest = [whole - part for whole, part in zip(total, certificate, strict=True)]
    return {
        "size": size,
        "factor": factor,
        "method": solution.method,
        "calls": len(total),
        "seconds": statistics.median(total),
        "certificate_seconds": statistics.median(certificate),
        "rest_seconds": statistics.median(rest),
        "gap": _grouped(solution) if checked else solution.relative_gap,
        "checked": checked,
        "converged": solution.converged,
        "tol": tol,
    }
