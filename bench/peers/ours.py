"""The package itself, through its public function; timed with everything the call does."""

from __future__ import annotations

from bench.cases import Case
from bench.recorder import Point, Recorder

REPEAT_BELOW = 0.05  # seconds


def run(method: str, case: Case, recorder: Recorder) -> None:
    """Solve once per target; the tolerance asked for is the target itself."""
    import ufm

    counts = case.counts.tolist()

    def solve(tol: float) -> ufm.Solution:
        return ufm.solve(
            counts, case.lambda_z, case.lambda_b, tol=tol, method=method, time_limit=recorder.limit
        )

    for tol in sorted(recorder.targets, reverse=True):
        solution: ufm.Solution | None = None

        def answer(tol: float = tol) -> Point:
            nonlocal solution
            solution = solve(tol)
            return solution.Z, solution.b

        gap = recorder.attempt(answer, REPEAT_BELOW, tolerance=tol)
        assert solution is not None
        if solution.status is ufm.Status.TIME_LIMIT:
            return
        _check_claim(solution, gap, tol)


def _check_claim(solution: object, gap: float, tol: float) -> None:
    """A solution that says it has converged must be found so by the judge."""
    if solution.converged and gap > tol * (1.0 + 1e-6) + 1e-12:  # type: ignore[attr-defined]
        raise AssertionError(f"{solution!r} claims {tol:g}, the judge finds {gap:.3g}")
