"""Largest value of u^T B u over unit vectors u >= 0, by branch and bound over supports."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray
from ufm.theory._doubly_nonnegative import doubly_nonnegative_bound

_ROUNDING = 1e-12


@dataclass(frozen=True)
class OrthantMaximum:
    """What :func:`orthant_maximum` found.

    Attributes
    ----------
    bound : float
        No unit vector u >= 0 has a larger value than this.
    exact : bool
        Whether the search was complete; then a vector attains the bound within the slack, or the
        bound is the floor that was asked for.
    vectors : list of tuple (value, ndarray)
        Vectors above the floor, the best first.
    """

    bound: float
    exact: bool
    vectors: list[tuple[float, FloatArray]]


@dataclass(frozen=True)
class _Node:
    support: NDArray[np.intp]  # may be used
    needed: NDArray[np.bool_]  # which of them must be
    bound: float


@dataclass
class Budget:
    """What a search may cost: supports looked at, semidefinite programs, and a time."""

    nodes: int = 2000
    programs: int = 30
    largest_program: int = 60
    deadline: float = math.inf

    @property
    def is_spent(self) -> bool:
        """Whether no further support may be looked at."""
        return self.nodes <= 0 or time.perf_counter() > self.deadline


def orthant_maximum(B: FloatArray, floor: float, slack: float, budget: Budget) -> OrthantMaximum:
    """Bound u^T B u over unit vectors u >= 0 from above, by at least ``floor``.

    A maximiser is the top eigenvector of B on its support, so that a support whose top eigenvalue
    is at most the floor settles all its subsets, and one whose top eigenvector has mixed signs
    leaves only its proper subsets. Indices whose off-diagonal entries are all nonpositive are in
    no larger support, and no support needs indices unconnected by positive entries.

    Parameters
    ----------
    B : ndarray of shape (C, C)
        Symmetric.
    floor : float
        Values up to this one need not be told apart.
    slack : float
        Relative accuracy that is asked of the bound.
    budget : Budget
        Charged for the search; where it does not suffice the bound is still one.
    """
    size = B.shape[0]
    if size == 0:
        return OrthantMaximum(floor, True, [])
    diagonal = np.diagonal(B)
    vectors = [(float(diagonal[i]), np.eye(size)[i]) for i in np.flatnonzero(diagonal > floor)]
    best = proved = max([floor, *diagonal.tolist()])
    everything = np.arange(size)
    stack = [_Node(everything, np.zeros(size, dtype=bool), _bound(B, everything))]
    while stack and not budget.is_spent:
        budget.nodes -= 1
        for node in _connected(B, stack.pop()):
            top, vector = _top(B, node.support)
            bound = min(top, _bound(B, node.support), node.bound)
            if bound <= best * (1.0 + slack):
                proved = max(proved, bound)
                continue
            if (vector >= -_ROUNDING).all():
                full = np.zeros(size)
                full[node.support] = np.maximum(vector, 0.0)
                vectors.append((top, full / np.linalg.norm(full)))
                best = max(best, top)
                continue
            if 3 < node.support.size <= budget.largest_program and budget.programs > 0:
                budget.programs -= 1
                part = B[np.ix_(node.support, node.support)]
                bound = min(bound, doubly_nonnegative_bound(part, best * (1.0 + slack)))
                if bound <= best * (1.0 + slack):
                    proved = max(proved, bound)
                    continue
            stack.extend(_children(node, vector, bound))
    vectors.sort(key=lambda pair: -pair[0])
    return OrthantMaximum(max([best, proved, *(node.bound for node in stack)]), not stack, vectors)


def _top(B: FloatArray, support: NDArray[np.intp]) -> tuple[float, FloatArray]:
    values, vectors = np.linalg.eigh(B[np.ix_(support, support)])
    vector = vectors[:, -1]
    return float(values[-1]), vector if vector.sum() >= 0 else -vector


def _bound(B: FloatArray, support: NDArray[np.intp]) -> float:
    """Top eigenvalue without the negative entries, which only lower values over u >= 0."""
    part = B[np.ix_(support, support)]
    diagonal = np.diagonal(part).copy()
    part = np.maximum(part, 0.0)
    part[np.diag_indices_from(part)] = diagonal
    return float(np.linalg.eigvalsh(part)[-1])


def _connected(B: FloatArray, node: _Node) -> list[_Node]:
    """The parts of a support that positive entries connect, single indices left out."""
    support, needed = node.support, node.needed
    positive = B[np.ix_(support, support)] > 0
    np.fill_diagonal(positive, False)
    label = np.full(support.size, -1)
    count = 0
    for start in range(support.size):
        if label[start] >= 0:
            continue
        label[start] = count
        frontier = np.array([start])
        while frontier.size:
            reached = positive[frontier].any(axis=0) & (label < 0)
            label[reached] = count
            frontier = np.flatnonzero(reached)
        count += 1
    wanted = np.unique(label[needed])
    if wanted.size > 1:
        return []
    parts = wanted if wanted.size else np.arange(count)
    return [
        _Node(support[label == part], needed[label == part], node.bound)
        for part in parts
        if (label == part).sum() > 1
    ]


def _children(node: _Node, vector: FloatArray, bound: float) -> list[_Node]:
    """Supports that lack at least one index, each named once."""
    children = []
    needed = node.needed.copy()
    for i in np.argsort(vector):
        if node.needed[i]:
            continue
        keep = np.arange(node.support.size) != i
        children.append(_Node(node.support[keep], needed[keep], bound))
        needed[i] = True
    return children[::-1]
