"""Solving the changed problems: whether the recommendations do what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ufm.planning._penalties import Penalties
from ufm.planning._separation import separation
from ufm.planning._weights import effective_weights
from ufm.planning.advice import Check, ClassWeights, Oversampling
from ufm.problem import FloatArray
from ufm.solution import BoolArray, Solution
from ufm.solver import solve

_ALL_UP_TO, _SOME_UP_TO, _SOME = 128, 2000, 8
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class _Case:
    name: str
    counts: FloatArray
    lambda_z: float
    weights: FloatArray | None
    watched: BoolArray  # (K,): classes that must not merge


class Checker:
    """Collects the problems to solve, solves them one after the other, and compares.

    Parameters
    ----------
    counts : ndarray of shape (K,)
    protected : ndarray of shape (K,), bool
    penalties : Penalties
    lambda_b, tol, threads
        Of every solve.
    progress : callable or None
        Called as ``progress(done, total, name)`` before each solve.
    """

    def __init__(
        self,
        counts: FloatArray,
        protected: BoolArray,
        penalties: Penalties,
        lambda_b: float,
        tol: float,
        threads: int | None,
        progress: Callable[[int, int, str], Any] | None,
    ) -> None:
        self._counts = counts
        self._protected = protected
        self._penalties = penalties
        self._options: dict[str, Any] = {"lambda_b": lambda_b, "tol": tol, "threads": threads}
        self._progress = progress
        self._cases: list[_Case] = []
        self.checks: list[Check] = []

    def plan(
        self,
        largest_lambda_z: float,
        oversampling: Oversampling,
        weights: ClassWeights,
        margin: float,
    ) -> None:
        """Add the joint recommendations."""
        if math.isfinite(largest_lambda_z):
            self._add("largest lambda_z", self._counts, lambda_z=largest_lambda_z)
        if oversampling.needed and oversampling.samples is not None:
            self._add("oversampling", oversampling.samples)
        elif oversampling.needed and oversampling.best_samples is not None:
            assert oversampling.best_lambda_z is not None
            best = oversampling.best_samples
            name = "best oversampling, with the lambda_z that it allows"
            self._add(name, best, lambda_z=self._scaled(oversampling.best_lambda_z, best))
        if weights.needed:
            self._add("class weights, plain", self._counts, weights=weights.plain)
            if weights.normalised is not None:
                effective = effective_weights(weights.normalised, self._counts)
                self._add("class weights, normalised", self._counts, weights=effective)

    def plan_alone(self, alone: dict[float, float | None], limit: int | None) -> int:
        """Add factors for single sizes, at most `limit`; how many were left out."""
        tied = set(self._counts[_tied(self._counts)].tolist())
        changed = [
            (n, level)
            for n, level in alone.items()
            if level is not None and level > n and n in tied  # others cannot merge anyway
        ]
        chosen = self._spread(len(changed), limit)
        for position in chosen:
            count, level = changed[position]
            mine = self._counts == count
            samples = np.where(mine, level, self._counts)
            self._add(f"oversampling the classes of {count:.10g} alone", samples, watched=mine)
        return len(changed) - len(chosen)

    def run(self) -> Solution:
        """Solve everything; the solution of the problem as given."""
        total = 1 + len(self._cases)
        self._tell(0, total, "as given")
        solution = solve(self._counts, self._penalties.lambda_z, **self._options)
        expected = int(self._expected(solution).sum())
        everything = np.ones(self._counts.size, dtype=bool)
        self._record("as given", solution, everything, expected)
        for done, case in enumerate(self._cases, start=1):
            self._tell(done, total, case.name)
            found = solve(case.counts, case.lambda_z, class_weights=case.weights, **self._options)
            self._record(case.name, found, case.watched, 0)
        return solution

    # ------------------------------------------------------------------ private

    def _expected(self, solution: Solution) -> BoolArray:
        """Which classes the thresholds say to be merged; (K,)."""
        ratio = self._penalties.lambda_z * self._counts.sum() / np.sqrt(self._counts)
        # On the threshold itself the last bit decides: either verdict is right.
        on_it = np.abs(ratio - 1) <= _ROUNDING
        expected: BoolArray = _tied(self._counts) & np.where(on_it, solution.collapsed, ratio > 1)
        return expected

    def _add(
        self,
        name: str,
        counts: FloatArray,
        *,
        lambda_z: float | None = None,
        weights: FloatArray | None = None,
        watched: BoolArray | None = None,
    ) -> None:
        if lambda_z is None:
            lambda_z = self._scaled(self._penalties.lambda_z, counts)
        watched = self._protected if watched is None else watched
        self._cases.append(_Case(name, counts, lambda_z, weights, watched))

    def _scaled(self, lambda_z: float, counts: FloatArray) -> float:
        """lambda_z, told for N samples, as it is for these counts."""
        return lambda_z * (self._penalties.at(float(counts.sum())) / self._penalties.lambda_z)

    def _spread(self, size: int, limit: int | None) -> list[int]:
        if limit is None:
            different = np.unique(self._counts).size
            few = _SOME if different <= _SOME_UP_TO else 1
            limit = size if different <= _ALL_UP_TO else few
        number = min(size, limit)
        return sorted({round(i) for i in np.linspace(0, size - 1, number).tolist()})

    def _tell(self, done: int, total: int, name: str) -> None:
        if self._progress is not None:
            self._progress(done, total, name)

    def _record(self, name: str, solution: Solution, watched: BoolArray, expected: int) -> None:
        self.checks.append(
            Check(
                name=name,
                lambda_z=solution.lambda_z,
                num_samples=float(solution.counts.sum()),
                expected_merged=expected,
                merged=int((solution.collapsed & watched).sum()),
                status=solution.status.name,
                relative_gap=solution.relative_gap,
                tol=solution.tol,
                seconds=solution.seconds,
                soft_collapse=_largest_index(solution, watched),
            )
        )


def _largest_index(solution: Solution, watched: BoolArray) -> float | None:
    """Largest soft-collapse index of the watched classes; None where it would take long."""
    if solution.num_clusters > _SOME_UP_TO or solution.num_classes == 1 or not watched.any():
        return None
    index = separation(solution).index[solution.cluster_of]
    return float(index[watched].max())


def _tied(counts: FloatArray) -> BoolArray:
    _, inverse, sizes = np.unique(counts, return_inverse=True, return_counts=True)
    tied: BoolArray = (sizes > 1)[inverse]
    return tied
