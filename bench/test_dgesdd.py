"""A whole solve of 1000 different counts against one LAPACK dgesdd of the same size.

Run with ``pytest bench/test_dgesdd.py``; the ratio is printed (``-s``) and kept in ``extra_info``.
UFM_BENCH_SIZE changes the size.
"""

from __future__ import annotations

import os
import statistics

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cases import FACTORS, Case
from bench.dgesdd import check, decompose, matrix_of, seconds_of, solver
from ufm.solver import METHODS

SIZE = int(os.environ.get("UFM_BENCH_SIZE", "1000"))
TOL = 1e-6
ROUNDS = 3


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", ["factored", "auto", "continuum"])
def test_solve_against_dgesdd(benchmark: BenchmarkFixture, method: str, factor: float) -> None:
    if method not in METHODS:
        pytest.skip(f"ufm has no method {method!r}")
    case = Case("distinct", SIZE, factor)
    matrix, solve = matrix_of(SIZE), solver(case, method, TOL)
    decompose(matrix)  # warm-up; the solve warms up in the fixture
    before = seconds_of(lambda: decompose(matrix), 2)
    solution = benchmark.pedantic(solve, rounds=ROUNDS, warmup_rounds=1)
    svd = statistics.median(before + seconds_of(lambda: decompose(matrix), 2))
    gap = check(solution, case, TOL)
    ratio = benchmark.stats.stats.median / svd
    benchmark.extra_info.update(
        K=SIZE, factor=factor, ran=solution.method, gap=gap, dgesdd_seconds=svd, ratio=ratio
    )
    print(f"\n{case.key}, {method}: {ratio:.2f} dgesdd of {svd:.3g} s, gap {gap:.1e}")
