"""Which linear algebra the core should use: Eigen as compiled in, or SciPy's LAPACK and BLAS.

Run alone with ``python -m bench.linear_algebra``. The core's own operations are timed on the same
matrices through either backend, then whole solves:

- svt: a singular value decomposition with vectors and one product;
- norm bound: certified operator norm, from a Gram product and Cholesky factorisations;
- solve: the factored method, mostly products of K x K matrices.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import ufm
from bench.cases import LAMBDA_B, Array, Case
from bench.dgesdd import check, seconds_of
from ufm import _core
from ufm._linalg import ensure_lapack, limited_threads

SIZES = (50, 100, 200, 500, 1000)
SOLVE_UP_TO = 500
TOL = 1e-6


def _operations(size: int, matrix: Array) -> dict[str, Callable[[], Any]]:
    case = Case("distinct", size, 0.5)

    def solve() -> None:
        counts = case.counts
        solution = ufm.solve(counts, case.lambda_z, LAMBDA_B, tol=TOL, method="factored")
        if not solution.converged:
            raise AssertionError(f"{case.key}: {solution!r}")

    actions: dict[str, Callable[[], Any]] = {
        "svt": lambda: _core.svt(matrix, 1.0),
        "norm bound": lambda: _core.operator_norm_bound(matrix),
    }
    if size <= SOLVE_UP_TO:
        actions["solve"] = solve
    return actions


def _median(action: Callable[[], Any]) -> float:
    """Median of one to nine runs after a warm-up, fewer for slow ones."""
    first = seconds_of(action, 1)[0]
    if first > 2.0:
        return first
    return statistics.median(seconds_of(action, 9 if first < 0.2 else 3))


def _same_answers(sizes: list[int]) -> None:
    """Both backends must agree before their times mean anything."""
    matrix = np.random.default_rng(1).standard_normal((max(60, min(sizes)),) * 2)
    case = Case("distinct", 60, 0.5)
    answers = []
    for backend in ("lapack", "eigen"):
        _switch(backend)
        solution = ufm.solve(case.counts, case.lambda_z, LAMBDA_B, tol=TOL, method="factored")
        check(solution, case, TOL)
        answers.append((_core.svt(matrix, 1.0), solution.objective))
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-11)
    np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=TOL)


def _switch(backend: str) -> None:
    if backend == "eigen":
        _core.clear_lapack()
        return
    from ufm import _linalg

    _linalg._attempted = False
    ensure_lapack()
    if not _core.has_lapack():
        raise RuntimeError("SciPy's LAPACK could not be loaded")


def measure(sizes: list[int], threads: list[int]) -> list[dict[str, Any]]:
    """Seconds per operation, size and backend; Eigen uses one thread in any case."""
    _same_answers(sizes)
    runs = [("eigen", 1)] + [("lapack", count) for count in threads]
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for size in sizes:
        matrix = np.random.default_rng(size).standard_normal((size, size))
        for backend, count in runs:
            _switch(backend)
            with limited_threads(count):
                for name, action in _operations(size, matrix).items():
                    row = rows.setdefault((size, name), {"size": size, "operation": name})
                    row[f"{backend} {count}"] = _median(action)
    _switch("lapack")
    return list(rows.values())


def main() -> None:
    from bench.report import linear_algebra_table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(linear_algebra_table(measure(options.sizes, options.threads)))


if __name__ == "__main__":
    main()
