"""Which classes a picture shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ufm.solution import Solution

IntArray = NDArray[np.intp]


@dataclass(frozen=True)
class Selection:
    """Classes to draw, clusters in descending order of count.

    Attributes
    ----------
    classes : ndarray of int, shape (m,)
        Indices into the solution's classes.
    counts : ndarray of float64, shape (m,)
        Their counts.
    edges : ndarray of int, shape (clusters shown + 1,)
        Cluster i occupies the positions edges[i] .. edges[i + 1] - 1.
    complete : bool
        Whether every class is shown.
    """

    classes: IntArray
    counts: NDArray[np.float64]
    edges: IntArray
    complete: bool


def select(solution: Solution, limit: int) -> Selection:
    """At most about `limit` classes that represent the solution."""
    # Clusters are numbered by falling count.
    order = np.argsort(solution.cluster_of, kind="stable")
    sizes = np.bincount(solution.cluster_of).astype(np.intp)
    shown = _quota(sizes, limit)
    starts = np.cumsum(sizes) - sizes
    positions = [
        np.arange(start, start + number) for start, number in zip(starts, shown, strict=True)
    ]
    classes = order[np.concatenate(positions)]
    edges = np.concatenate([[0], np.cumsum(shown[shown > 0])]).astype(np.intp)
    return Selection(classes, solution.counts[classes], edges, len(classes) == len(order))


def _quota(sizes: IntArray, limit: int) -> IntArray:
    """How many classes of each cluster to show."""
    total = int(sizes.sum())
    if total <= limit:
        return sizes
    # Two classes of a cluster show both kinds of entry: own class, other class.
    least = np.minimum(sizes, 2)
    if least.sum() <= limit // 2:
        share = np.floor(sizes * ((limit - least.sum()) / total)).astype(np.intp)
        shown: IntArray = np.minimum(sizes, least + share)
        return shown
    # Too many clusters: classes evenly spaced in the order of their counts.
    positions = np.unique(np.linspace(0, total - 1, limit).round().astype(np.intp))
    owners = np.searchsorted(np.cumsum(sizes), positions, side="right")
    return np.bincount(owners, minlength=len(sizes)).astype(np.intp)


def ticks(selection: Selection, most: int = 8) -> tuple[IntArray, NDArray[np.float64]]:
    """Positions to label on an axis, and the count of the class there.

    Few clusters are labelled at their middle, many at evenly spaced classes.
    """
    m = len(selection.classes)
    middles = (selection.edges[:-1] + selection.edges[1:] - 1) // 2
    room = max(m // 12, 1)
    if len(middles) <= most and (len(middles) == 1 or np.min(np.diff(middles)) >= room):
        positions = middles
    else:
        positions = np.unique(np.linspace(0, m - 1, min(most, m)).round().astype(np.intp))
    return positions, selection.counts[positions]
