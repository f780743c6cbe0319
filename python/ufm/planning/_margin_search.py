"""The least changes that give every class a positive logit margin, found by solving."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ufm.planning._penalties import Penalties
from ufm.planning._weights import effective_weights
from ufm.planning.advice import Check
from ufm.planning.positive_margin import MarginChange, PositiveMargin
from ufm.problem import FloatArray
from ufm.solution import Solution
from ufm.solver import solve
from ufm.theory.confusion import confusion
from ufm.theory.nonnegative import nonnegative_solution

_STEP = 1.1  # ratio of neighbouring values of a scan, at most
_RESOLUTION = 1e-5  # relative, of values that need not be whole
_SMALLEST_LAMBDA = 1e-4  # of the one given: where the scan for a smaller lambda_z ends
_LARGEST_LEVEL = 100.0  # of the largest count: where the scan for plain weights ends
_TIGHTEST = 1e-8


@dataclass(frozen=True, eq=False)
class _Case:
    """A changed problem."""

    counts: FloatArray
    lambda_z: float
    weights: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class _Point:
    value: float
    solution: Solution
    margins: FloatArray  # (C,)
    least: float  # to be exceeded

    @property
    def smallest(self) -> float:
        return float(self.margins.min())

    @property
    def enough(self) -> bool:
        return self.solution.converged and self.smallest > self.least


class MarginSearch:
    """Finds the changes one after the other.

    Each kind of change has one number, from the problem as given to the strongest change. It is
    scanned in steps of ten per cent for the first value at which all margins are enough, and the
    step before it is bisected. That finds the least value unless margins are enough only within
    less than a step; nothing is known that rules this out.

    Parameters
    ----------
    counts : ndarray of shape (K,)
    penalties : Penalties
    lambda_b, tol, threads
        Of every solve; gaps are at most 1e-8.
    lambda_max : float
        Z is zero at and above this lambda_z.
    features : {"free", "nonnegative"}
    least : float
        Logit margin that every class must exceed.
    progress : callable or None
        Called as ``progress(done, total, name)`` before each solve, done and total both counting
        the solves up to then.
    """

    def __init__(
        self,
        counts: FloatArray,
        penalties: Penalties,
        *,
        lambda_b: float,
        lambda_max: float,
        features: str,
        least: float,
        tol: float,
        threads: int | None,
        progress: Callable[[int, int, str], Any] | None,
    ) -> None:
        self._counts, self._penalties, self._features = counts, penalties, features
        self._lambda_b, self._lambda_max = lambda_b, lambda_max
        self._least = least
        self._tol, self._threads = min(tol, _TIGHTEST), threads
        self._progress = progress
        self._solves = 0
        self.checks: list[Check] = []

    def run(self) -> PositiveMargin:
        """Find all four changes."""
        given = self._penalties.lambda_z
        as_given = self._point(given, _Case(self._counts, given), "as given")
        self._check("logit margins as given", as_given, None)
        low, high = float(self._counts.min()), float(self._counts.max())
        whole = bool((self._counts == np.round(self._counts)).all())
        smaller = self._find(
            "lambda_z", as_given, lambda v: _Case(self._counts, v), self._lambdas(), whole=False
        )
        more = self._find("oversampling", as_given, self._oversampled, _scan(low, high), whole)
        beyond = _scan(low, high) + _scan(high, _LARGEST_LEVEL * high)[1:]
        plain = self._find("class weights, plain", as_given, self._weighted, beyond, whole=False)
        normalised = self._find(
            "class weights, normalised", as_given, self._normalised, _scan(low, high), whole=False
        )
        largest = math.nan if smaller.value is None else smaller.value
        return PositiveMargin(
            features=self._features,
            least=self._least,
            margins=as_given.margins[as_given.solution.cluster_of],
            lambda_z=smaller,
            weight_decay=None
            if smaller.value is None
            else self._penalties.weight_decay_for(largest),
            oversampling=more,
            plain_weights=plain,
            normalised_weights=normalised,
        )

    # ------------------------------------------------------------------ kinds of change

    def _lambdas(self) -> list[float]:
        """Falling values of lambda_z; at lambda_max and above there is nothing to be found."""
        top = min(self._penalties.lambda_z, self._lambda_max)
        return _scan(top, _SMALLEST_LAMBDA * top)

    def _factors(self, level: float) -> FloatArray:
        return np.maximum(level / self._counts, 1.0)

    def _oversampled(self, level: float) -> _Case:
        counts = np.maximum(self._counts, level)
        return _Case(counts, self._penalties.at(float(counts.sum())))

    def _weighted(self, level: float) -> _Case:
        return _Case(self._counts, self._penalties.lambda_z, self._factors(level))

    def _normalised(self, level: float) -> _Case:
        weights = effective_weights(self._factors(level), self._counts)
        return _Case(self._counts, self._penalties.lambda_z, weights)

    # ------------------------------------------------------------------ search

    def _find(
        self,
        name: str,
        as_given: _Point,
        case: Callable[[float], _Case],
        values: list[float],
        whole: bool,
    ) -> MarginChange:
        scan = sorted({float(math.ceil(v)) for v in values}) if whole else values
        point = _Point(scan[0], as_given.solution, as_given.margins, self._least)
        points = [point]
        for value in scan[1:]:
            if point.enough:
                break
            point = self._point(value, case(value), name)
            points.append(point)
        if not point.enough:
            return self._change(name, points, max(points, key=lambda p: p.smallest))
        found = point
        if len(points) > 1:
            short = points[-2]
            while abs(found.value - short.value) > (1.0 if whole else _RESOLUTION * found.value):
                middle = (found.value + short.value) / 2
                middle = math.floor(middle) if whole else middle
                point = self._point(middle, case(middle), name)
                points.append(point)
                found, short = (point, short) if point.enough else (found, point)
            points.append(short)
        self._check(f"positive margin, {name}", found, found.smallest)
        return self._change(name, points, found)

    def _change(self, name: str, points: list[_Point], chosen: _Point) -> MarginChange:
        """What came of these points, the first as given and the last short by the least."""
        needed = not points[0].enough
        found = chosen.enough
        ones = np.ones(self._counts.size)
        factors = ones if name == "lambda_z" or not needed else self._factors(chosen.value)
        short = points[-1] if found and needed else None
        return MarginChange(
            name=name,
            needed=needed,
            value=chosen.value if found else None,
            factors=factors if found else None,
            smallest_margin=chosen.smallest,
            value_short=math.nan if short is None else short.value,
            smallest_margin_short=math.nan if short is None else short.smallest,
            unconverged=sum(not point.solution.converged for point in points),
        )

    def _point(self, value: float, case: _Case, name: str) -> _Point:
        if self._progress is not None:
            self._progress(self._solves, self._solves + 1, f"positive margin, {name}")
        self._solves += 1
        if self._features == "free":
            solution = solve(
                case.counts,
                case.lambda_z,
                self._lambda_b,
                class_weights=case.weights,
                tol=self._tol,
                threads=self._threads,
            )
        else:
            solution = nonnegative_solution(
                case.counts,
                case.lambda_z,
                self._lambda_b,
                class_weights=case.weights,
                tol=self._tol,
            )
        margins = np.array([cluster.margin for cluster in confusion(solution).clusters])
        return _Point(value, solution, margins, self._least)

    def _check(self, name: str, point: _Point, smallest: float | None) -> None:
        """Keep what stands behind a statement; `smallest` where that is of a positive margin."""
        solution = point.solution
        merged = int(solution.collapsed.sum())
        self.checks.append(
            Check(
                name=name,
                lambda_z=solution.lambda_z,
                num_samples=float(solution.counts.sum()),
                expected_merged=merged if smallest is None else 0,
                merged=merged,
                status=solution.status.name,
                relative_gap=solution.relative_gap,
                tol=solution.tol,
                seconds=solution.seconds,
                soft_collapse=None,
                smallest_margin=smallest,
                least_margin=self._least,
            )
        )


def _scan(first: float, last: float) -> list[float]:
    """Values from `first` to `last`, both included, each about a tenth from the one before."""
    if first == last:
        return [first]
    steps = math.ceil(abs(math.log(last / first)) / math.log(_STEP))
    found: list[float] = np.geomspace(first, last, steps + 1).tolist()
    found[0], found[-1] = first, last
    return found
