"""Many two-cluster problems, and few clusters of many classes.

Run with ``pytest bench/test_throughput.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import ufm
from bench.cases import FACTORS, LAMBDA_B, Case, cluster_counts
from bench.gap import judge
from bench.grouped import from_solution, grouped_gap
from bench.scaling import two_cluster_problems

TOL = 1e-6
NUMBER = 200


def _gap(solution: ufm.Solution) -> float:
    point = from_solution(solution)
    return grouped_gap(point, solution.lambda_z, solution.lambda_b).relative


def test_loop_over_solve(benchmark: BenchmarkFixture) -> None:
    counts, lambda_z = two_cluster_problems(NUMBER)
    solutions = benchmark(
        lambda: [ufm.solve(counts[i], lambda_z[i], LAMBDA_B, tol=TOL) for i in range(NUMBER)]
    )
    assert max(map(_gap, solutions)) <= TOL
    benchmark.extra_info["per_second"] = NUMBER / benchmark.stats.stats.median


@pytest.mark.skipif(not hasattr(ufm, "solve_many"), reason="ufm has no solve_many")
def test_solve_many(benchmark: BenchmarkFixture) -> None:
    counts, lambda_z = two_cluster_problems(NUMBER)
    batch = benchmark(lambda: ufm.solve_many(counts, lambda_z, LAMBDA_B, tol=TOL))
    assert max(_gap(batch[i]) for i in range(NUMBER)) <= TOL
    benchmark.extra_info["per_second"] = NUMBER / benchmark.stats.stats.median


@pytest.mark.parametrize("factor", FACTORS)
def test_ten_classes_in_three_clusters(benchmark: BenchmarkFixture, factor: float) -> None:
    case = Case("clusters", 10, factor)
    solution = benchmark(lambda: ufm.solve(case.counts, case.lambda_z, LAMBDA_B, tol=TOL))
    assert judge(solution.Z, solution.b, case).relative <= TOL


def test_three_clusters_of_100000_classes(benchmark: BenchmarkFixture) -> None:
    counts = cluster_counts(300_000)
    lambda_z = 0.5 * float(np.sqrt(counts.min()) / counts.sum())
    solution = benchmark.pedantic(
        lambda: ufm.solve(counts, lambda_z, LAMBDA_B, tol=TOL), rounds=3, warmup_rounds=1
    )
    assert _gap(solution) <= TOL
