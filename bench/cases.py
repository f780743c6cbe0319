"""The problems that are timed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TARGETS = (1e-3, 1e-6, 1e-8)  # relative duality gaps
SIZES = (10, 20, 40, 100, 200, 500, 1000, 2000)
# lambda_z in units of sqrt(min n) / N. At 2 the classes with fewer than four times the smallest
# count are below their threshold, the others above: a threshold lies inside the counts.
FACTORS = (0.5, 2.0)
LAMBDA_B = 0.01
RATIO = 250.0
CLUSTERS = {5000.0: 4, 1000.0: 3, 200.0: 3}  # count: classes


@dataclass(frozen=True)
class Case:
    """One problem, told so briefly that a worker process can build it again.

    Attributes
    ----------
    kind : {"distinct", "clusters"}
        Geometric counts of ratio 250, all different, or three clusters of equal counts.
    size : int
        K.
    factor : float
        lambda_z in units of sqrt(min n) / N.
    """

    kind: str
    size: int
    factor: float

    @property
    def key(self) -> str:
        return f"{self.kind} K={self.size} factor={self.factor:g}"

    @cached_property
    def counts(self) -> Array:
        if self.kind == "distinct":
            return distinct_counts(self.size)
        return cluster_counts(self.size)

    @cached_property
    def lambda_z(self) -> float:
        counts = self.counts
        return float(self.factor * np.sqrt(counts.min()) / counts.sum())

    @property
    def lambda_b(self) -> float:
        return LAMBDA_B

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def distinct_counts(size: int) -> Array:
    """Integers in geometric progression from 250 m down to m, all different."""
    smallest = max(20, size)  # neighbours differ by at least 5
    counts = np.round(np.geomspace(RATIO * smallest, smallest, size))
    if np.unique(counts).size != size:
        raise AssertionError("the counts are meant to be different")
    return counts


def cluster_counts(size: int) -> Array:
    """Ten classes in three clusters, or the same shares of any number of classes."""
    shares = np.cumsum([0, *CLUSTERS.values()]) * size // 10
    return np.repeat(list(CLUSTERS), np.diff(shares))


def peer_cases(sizes: tuple[int, ...], factors: tuple[float, ...]) -> list[Case]:
    """All cases of the comparison, sizes growing within each regime."""
    cases = []
    for factor in factors:
        cases.append(Case("clusters", 10, factor))
        cases.extend(Case("distinct", size, factor) for size in sorted(sizes))
    return cases
