"""CVXPY against ``ufm.solve``, solve by solve in turn: ``python -m bench.paired``.

On a machine that does other work too, wall times cannot be compared, least of all those of calls
that fit between two interruptions with those of calls that do not. Here both sides are measured in
processor time with one thread each; each CVXPY solve stands between two groups of ``ufm`` solves of
the same problem, and the median of the ratios of neighbours is reported. Both are judged by the
same independent code.
"""

from __future__ import annotations

import statistics
import time

import ufm
from bench.cases import Case
from bench.gap import judge
from bench.peers import conic

GOAL = 1e-6
TOLERANCES = (
    1e-5,
    1e-6,
    1e-7,
    1e-8,
    1e-9,
    1e-10,
)  # of the conic solver; the first that reaches the goal counts
PAIRS = 5
CALLS = 15
LIMIT = 60.0


def ours(case: Case) -> float:
    """Median processor seconds of a call, Z and b included."""
    counts = case.counts.tolist()
    lambda_z, lambda_b = case.lambda_z, case.lambda_b
    times = []
    for _ in range(CALLS):
        start = time.process_time()
        solution = ufm.solve(counts, lambda_z, lambda_b, tol=GOAL, time_limit=LIMIT)
        Z, b = solution.Z, solution.b
        times.append(time.process_time() - start)
    if judge(Z, b, case).relative > GOAL * (1 + 1e-6):
        raise AssertionError(f"{case.key}: {solution!r} does not hold what it claims")
    return statistics.median(times)


def theirs(solver: str, case: Case, tolerance: float) -> tuple[float, float]:
    """Processor seconds of a complete CVXPY solve, and the gap it reached."""
    start = time.process_time()
    point = conic._solve(solver, case, tolerance, LIMIT, {})
    seconds = time.process_time() - start
    return seconds, float("inf") if point is None else judge(*point, case).relative


def compare(case: Case, solver: str) -> str:
    """A row of the table."""
    ours(case)
    for tolerance in TOLERANCES:
        if theirs(solver, case, tolerance)[1] <= GOAL:
            break
    else:
        return f"{case.key} | {solver} | does not reach {GOAL:g} | |"
    before = ours(case)
    ratios, seconds, own = [], [], [before]
    for _ in range(PAIRS):
        taken, _gap = theirs(solver, case, tolerance)
        after = ours(case)
        ratios.append(taken / (0.5 * (before + after)))
        seconds.append(taken)
        own.append(after)
        before = after
    return (
        f"{case.key} | {solver} ({tolerance:g}) | {statistics.median(seconds):.3g} s | "
        f"{1e6 * statistics.median(own):.3g} us | "
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
    )


def main() -> None:
    print("case | CVXPY with | median | ufm.solve, median | ratio, median (range)")
    for kind, size in (("clusters", 10), ("distinct", 40), ("distinct", 10), ("distinct", 20)):
        for factor in (0.5, 2.0):
            print(compare(Case(kind, size, factor), "SCS"), flush=True)
            if size == 10:
                print(compare(Case(kind, size, factor), "CLARABEL"), flush=True)


if __name__ == "__main__":
    main()
