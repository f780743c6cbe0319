"""Solutions along lambda_z, and where their rank changes: :func:`path`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._html import Shown
from ufm.planning.progress import Progress, Report
from ufm.problem import (
    FloatArray,
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
)
from ufm.solution import Solution
from ufm.solver import solve
from ufm.theory.thresholds import Thresholds, thresholds

KINDS = ("collapse", "between", "bias_only", "zero")

# The automatic grid: from this part of the first threshold to just above the last.
_FIRST, _LAST = 0.25, 1.01


@dataclass(frozen=True)
class RankEvent:
    """A value of lambda_z at which the rank of Z changes.

    Attributes
    ----------
    lambda_z : float
        The event lies between ``lower`` and ``upper``; this is their geometric mean.
    lower, upper : float
        Solved values of lambda_z on both sides.
    rank_below, rank_above : int
        Rank of Z there.
    kind : str
        "zero": Z vanishes; "collapse": the classes of ``clusters`` merge; "bias_only": what Z
        tells apart is classes of one cluster only, collapsed clusters are predicted by the bias
        alone; "between": the part of Z between clusters loses rank.
    clusters : tuple of int
        Clusters (by falling count) that merge.
    predicted : float
        The threshold of :func:`ufm.thresholds` that this event stands for, NaN where there is no
        closed form.
    """

    lambda_z: float
    lower: float
    upper: float
    rank_below: int
    rank_above: int
    kind: str
    clusters: tuple[int, ...]
    predicted: float


@dataclass(frozen=True, eq=False, repr=False)
class Path(Shown):
    """Solutions of one problem along lambda_z, by :func:`path`.

    Attributes
    ----------
    solutions : tuple of Solution
        In order of rising lambda_z.
    events : tuple of RankEvent
        In order of rising lambda_z; empty if none were asked for.
    thresholds : Thresholds
        The closed forms.
    accuracy : float
        Relative width to which events are located.
    num_solves : int
        Number of problems solved for it.
    """

    solutions: tuple[Solution, ...]
    events: tuple[RankEvent, ...]
    thresholds: Thresholds
    accuracy: float
    num_solves: int

    @property
    def lambda_z(self) -> FloatArray:
        """Shape (L,)."""
        return np.array([solution.lambda_z for solution in self.solutions])

    @property
    def objective(self) -> FloatArray:
        """Shape (L,)."""
        return np.array([solution.objective for solution in self.solutions])

    @property
    def rank(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Shape (L,)."""
        return np.array([solution.rank for solution in self.solutions])

    @property
    def converged(self) -> bool:
        """Whether every solution is within the tolerance."""
        return all(solution.converged for solution in self.solutions)

    def __len__(self) -> int:
        return len(self.solutions)

    def __repr__(self) -> str:
        return (
            f"<ufm.Path: {len(self)} solutions, lambda_z {self.lambda_z[0]:.4g} to "
            f"{self.lambda_z[-1]:.4g}, rank {self.rank[0]} to {self.rank[-1]}, "
            f"{len(self.events)} events>"
        )

    def summary(self) -> str:
        """The events as a table."""
        lines = [f"{'lambda_z':>13} {'rank':>11}  {'kind':<10} {'closed form':>13}  clusters"]
        for event in self.events:
            known = "-" if math.isnan(event.predicted) else f"{event.predicted:.7g}"
            clusters = ", ".join(str(cluster) for cluster in event.clusters) or "-"
            rank = f"{event.rank_below} -> {event.rank_above}"
            lines.append(
                f"{event.lambda_z:>13.7g} {rank:>11}  {event.kind:<10} {known:>13}  {clusters}"
            )
        return "\n".join(lines)


def path(
    counts: ArrayLike,
    *,
    lambda_b: float,
    lambda_z: ArrayLike | None = None,
    num: int = 50,
    tol: float = 1e-9,
    class_weights: ArrayLike | None = None,
    events: bool = True,
    accuracy: float = 1e-4,
    progress: Report | bool | None = None,
) -> Path:
    """Solve one problem along lambda_z and locate the values at which the rank of Z changes.

    Between neighbouring values whose solutions differ in rank or in which clusters are collapsed,
    the changes are located by bisection. Two changes that cancel between neighbours, or lie
    closer together than ``accuracy``, are not told apart.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class.
    lambda_b : float
        Weight of the bias penalty; infinity for no bias, 0 for a bias without penalty.
    lambda_z : array_like of shape (L,), optional
        Weights of the nuclear norm; by default ``num`` values, evenly spaced in the logarithm,
        from a quarter of sqrt(min n) / N (or of lambda_max if that is smaller) to 1.01 lambda_max.
    num : int
        Number of automatic values.
    tol : float
        Relative duality gap. Ranks near an event need a small one.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.
    events : bool
        Whether to locate events.
    accuracy : float
        Relative width of the interval in which each event is located, at least 1e-9.
    progress : callable or bool, optional
        Called with the numbers of finished and of all values, during the first pass; by default a
        line on stderr if that is a terminal.

    Returns
    -------
    Path

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    KeyboardInterrupt
        On Ctrl-C.

    Examples
    --------
    >>> import ufm
    >>> path = ufm.path([500] * 5 + [100] * 5, lambda_b=0.02)
    >>> [(event.kind, event.rank_below, event.rank_above) for event in path.events]
    [('collapse', 9, 5), ('bias_only', 5, 4), ('zero', 4, 0)]
    >>> [round(event.lambda_z, 5) for event in path.events]
    [0.00333, 0.00398, 0.00745]
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    lambda_b = check_lambda_b(lambda_b)
    tol = check_positive("tol", tol)
    accuracy = check_positive("accuracy", accuracy)
    if accuracy < 1e-9:
        raise ValueError(f"accuracy must be at least 1e-9, got {accuracy}")
    closed_forms = thresholds(counts, lambda_b, weights)
    values = _values(lambda_z, num, counts, closed_forms)
    solver = _Solver(counts, weights, lambda_b, tol)
    shown = Progress(values.size, progress)
    solutions: list[Solution] = []
    try:
        for value in values[::-1]:
            solutions.append(solver.at(float(value), solutions[-1] if solutions else None))
            shown.update(1)
    finally:
        shown.close()
    solutions.reverse()
    located: list[RankEvent] = []
    if events:
        for low, high in pairwise(solutions):
            located += [
                _event(*sides, closed_forms)
                for sides in _locate(low, high, 1 + accuracy, solver.at)
            ]
    return Path(tuple(solutions), tuple(located), closed_forms, accuracy, solver.num_solves)


class _Solver:
    """One problem at any lambda_z."""

    def __init__(
        self, counts: FloatArray, weights: FloatArray | None, lambda_b: float, tol: float
    ) -> None:
        self._counts = counts
        self._weights = weights
        self._lambda_b = lambda_b
        self._tol = tol
        self.num_solves = 0

    def at(self, lambda_z: float, start: Solution | None) -> Solution:
        """The solution at lambda_z; ``start`` is the solution at a lambda_z nearby."""
        self.num_solves += 1
        return solve(
            self._counts,
            lambda_z,
            self._lambda_b,
            tol=self._tol,
            class_weights=self._weights,
            start=start,
        )


def _values(given: Any, num: int, counts: FloatArray, closed_forms: Thresholds) -> FloatArray:
    if given is not None:
        array = np.asarray(given)
        if array.ndim != 1 or array.size < 2:
            raise ValueError(f"lambda_z must hold at least two numbers, got {given!r:.80}")
        values = np.unique([check_positive("lambda_z", item) for item in array.tolist()])
        if values.size < array.size:
            raise ValueError("lambda_z must hold different numbers, got one twice")
        return values
    number = check_limit("num", num)
    if number is None or number < 2:
        raise ValueError(f"num must be at least 2, got {num!r}")
    top = closed_forms.lambda_max
    if not top > 0:
        raise ValueError("lambda_z is needed where Z = 0 for all of its values (one class)")
    first = min(math.sqrt(float(counts.min())) / float(counts.sum()), top)
    return np.geomspace(_FIRST * first, _LAST * top, number)


def _state(solution: Solution) -> tuple[int, tuple[bool, ...]]:
    """What an event changes."""
    return solution.rank, tuple(cluster.collapsed for cluster in solution.clusters)


def _locate(
    low: Solution,
    high: Solution,
    width: float,
    solve_at: Callable[[float, Solution | None], Solution],
) -> list[tuple[Solution, Solution]]:
    """Neighbours closer than ``width`` (a ratio) between which the state changes."""
    if _state(low) == _state(high):
        return []
    if high.lambda_z <= low.lambda_z * width:
        return [(low, high)]
    middle = solve_at(math.sqrt(low.lambda_z) * math.sqrt(high.lambda_z), high)
    return [
        *_locate(low, middle, width, solve_at),
        *_locate(middle, high, width, solve_at),
    ]


def _event(low: Solution, high: Solution, closed_forms: Thresholds) -> RankEvent:
    merged = tuple(
        index
        for index, (below, above) in enumerate(zip(low.clusters, high.clusters, strict=True))
        if above.collapsed and not below.collapsed
    )
    kind, predicted = "between", math.nan
    if high.rank == 0:
        kind, predicted = "zero", closed_forms.lambda_max
    elif merged:
        kind, predicted = "collapse", low.clusters[merged[0]].threshold
    elif _between_rank(low) > 0 == _between_rank(high):
        kind = "bias_only"
    return RankEvent(
        lambda_z=math.sqrt(low.lambda_z) * math.sqrt(high.lambda_z),
        lower=low.lambda_z,
        upper=high.lambda_z,
        rank_below=low.rank,
        rank_above=high.rank,
        kind=kind,
        clusters=merged,
        predicted=predicted,
    )


def _between_rank(solution: Solution) -> int:
    """Rank of the part of Z that tells clusters apart."""
    within = sum(c.multiplicity - 1 for c in solution.clusters if c.amplitude > 0)
    return solution.rank - within
