"""The smallest oversampling after which no protected classes merge, in closed form.

Oversampling repeats samples: a class of n samples becomes one of m = w n, the total N becomes M,
and a class merges with others of its size where lambda_z >= sqrt(m) / M. More samples of one class
lower the thresholds of all: sqrt(m) / M has a largest value, and beyond it no factor helps.

All of this is derived from the threshold sqrt(n) / N of Hong and Ling, arXiv 2309.09725. Safe
classes have m >= L with one water level L; the least total is M(L) = N + sum of (L - n) over the
protected classes below L. `Tail.reach` (L) is the largest lambda_z for which level L is enough. It
rises to one peak and then falls (a concave function over a convex one), so that the smallest
sufficient level is the root of a quadratic on one segment between two counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ufm.problem import FloatArray

# Levels are compared with lambdas that carry a margin: rounding may not decide between integers.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Tail:
    """The protected classes, and how adding to the smallest of them changes the thresholds.

    Attributes
    ----------
    counts : ndarray of shape (J,)
        Samples of the protected classes, in any order.
    total : float
        N, the samples of all classes, protected or not.
    per_sample : bool
        Whether lambda_H falls as 1 / N when samples are added (a penalty on the mean of ||h||^2),
        rather than staying what it is (a penalty on their sum).
    whole : bool
        Whether levels are rounded up to integers.
    """

    counts: FloatArray
    total: float
    per_sample: bool
    whole: bool

    # ------------------------------------------------------------------ one level for all

    @cached_property
    def _breaks(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Distinct counts rising, the classes up to each, and the samples outside of them."""
        values, sizes = np.unique(self.counts, return_counts=True)
        classes = np.cumsum(sizes).astype(np.float64)
        rest = self.total - np.cumsum(values * sizes)
        return values, classes, np.maximum(rest, 0.0)

    def total_at(self, level: float) -> float:
        """Samples of all classes after raising the protected ones to `level`."""
        return self.total + float(np.maximum(level - self.counts, 0.0).sum())

    def reach(self, level: float) -> float:
        """Largest lambda_z, as of N samples, at which classes of `level` are on their threshold."""
        return self._reach(level, self.total_at(level))

    def _reach(self, level: float, total: float) -> float:
        if self.per_sample:  # lambda_z sqrt(N / M) = sqrt(m) / M
            return math.sqrt(level / total / self.total)
        return math.sqrt(level) / total

    @cached_property
    def peak(self) -> float:
        """Level with the largest reach; infinite where the reach rises for ever."""
        values, classes, rest = self._breaks
        if self.per_sample:
            return math.inf if rest[-1] > 0 else float(values[-1])
        ends = np.append(values[1:], np.inf)
        segment = int(np.argmax(classes * ends >= rest))
        level = max(float(values[segment]), float(rest[segment] / classes[segment]))
        return self._best_whole(level) if self.whole else level

    def _best_whole(self, level: float) -> float:
        lowest = float(self.counts.min())
        neighbours = {max(math.floor(level), lowest), math.ceil(level)}
        return float(max(sorted(neighbours), key=self.reach))

    @cached_property
    def largest_reach(self) -> float:
        """Largest lambda_z that any level can deal with, or approaches as it grows."""
        if math.isinf(self.peak):
            return math.sqrt(1 / self.counts.size / self.total)
        return self.reach(self.peak)

    def smallest_level(self, target: float) -> float | None:
        """Smallest level with a reach of at least `target`; None where there is none."""
        values, classes, rest = self._breaks
        if self.reach(float(values[0])) >= target:
            return float(values[0])
        if self.largest_reach < target:
            return None
        ends = values[values <= self.peak]
        reaches = np.array([self._reach(v, r + c * v) for v, c, r in self._at(ends.size)])
        enough = reaches >= target
        segment = int(np.argmax(enough)) - 1 if enough.any() else ends.size - 1
        level = self._root(float(classes[segment]), float(rest[segment]), target)
        if level is None:
            return None
        level = min(max(level, float(values[segment])), self.peak)
        return self._rounded(level, target, self.reach)

    def _at(self, size: int) -> list[tuple[float, float, float]]:
        values, classes, rest = (part[:size].tolist() for part in self._breaks)
        return list(zip(values, classes, rest, strict=True))

    def _root(self, classes: float, rest: float, target: float) -> float | None:
        """Smallest m with a reach of `target` for `classes` of m samples beside `rest` others."""
        if self.per_sample:
            share = target * target * self.total  # smallest part of all samples that is safe
            return share * rest / (1 - classes * share) if classes * share < 1 else None
        discriminant = 1 - 4 * target * target * classes * rest
        if discriminant < -_ROUNDING:
            return None
        root = 2 * target * rest / (1 + math.sqrt(max(discriminant, 0.0)))
        return root * root

    def _rounded(
        self, level: float, target: float, reach: Callable[[float], float]
    ) -> float | None:
        if not self.whole:
            return level
        first = math.ceil(level * (1 - _ROUNDING))
        for candidate in (first, first + 1):
            if reach(float(candidate)) >= target * (1 - _ROUNDING):
                return float(candidate)
        return None

    # ------------------------------------------------------------------ one cluster alone

    def smallest_alone(self, count: float, classes: int, target: float) -> float | None:
        """Smallest m >= count that is enough for one cluster when no other class is touched.

        Parameters
        ----------
        count : float
            Samples of each class of the cluster.
        classes : int
            Its number of classes.
        target : float
            lambda_z, as of N samples, that the cluster must bear.

        Returns
        -------
        float or None
            None where no m is enough.
        """
        rest = max(self.total - classes * count, 0.0)

        def reach(level: float) -> float:
            return self._reach(level, rest + classes * level)

        if reach(count) >= target:
            return count
        level = self._root(float(classes), rest, target)
        # A root below the count: the cluster is so large that adding to it lowers its threshold.
        if level is None or level < count:
            return None
        return self._rounded(level, target, reach)
