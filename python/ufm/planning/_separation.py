"""How far apart the predictions of classes are: the soft-collapse index of every cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufm._between import Between, StructuredBetween
from ufm.problem import FloatArray
from ufm.solution import Solution

_BLOCK = 512  # columns at a time: 40 MB at ten thousand different counts


@dataclass(frozen=True)
class Separation:
    """One entry per cluster, in the order of the solution's clusters.

    Attributes
    ----------
    index : ndarray of shape (C,)
        Soft-collapse index, see :func:`separation`; NaN where there is no other class.
    neighbour : ndarray of shape (C,)
        Cluster that a class is compared with: its own where it has several classes, else the one
        nearest in log count; -1 where there is none.
    own_probability : ndarray of shape (C,)
        p_kk, the predicted probability of a class for itself.
    norm : ndarray of shape (C,)
        ||z_k||, the size of the bias-free mean prediction.
    """

    index: FloatArray
    neighbour: NDArray[np.int64]
    own_probability: FloatArray
    norm: FloatArray


def separation(solution: Solution) -> Separation:
    """Compare the mean prediction of each class with that of its nearest one in size.

    Write p_jk for the probability that the mean prediction of class k gives to class j. For two
    classes k and j

        index = 1 - max(0, (p_kk - p_kj + p_jj - p_jk) / 2),

    between 0 (each is certain of itself) and 1 (nothing in the two predictions tells them apart).
    For classes of one size the optimality conditions make it min(1, lambda_z N / sqrt(n)): the
    ratio to their threshold, 1 from there on. A class alone in its size thus reads on the same
    scale; as its count tends to that of its neighbour, so does its index (derived).

    Never holds more than a block of columns; cost C^2 for C clusters.
    """
    counts, multiplicity = solution.cluster_count, solution.multiplicity
    neighbour = _neighbours(counts, multiplicity)
    p_own, p_other, p_before, p_after, norm = _probabilities(solution)
    cluster = np.arange(counts.size)
    j = np.maximum(neighbour, 0)
    before = j < cluster  # the neighbour comes before the class in the order of clusters
    p_jk = np.where(before, p_before, p_after)
    p_kj = np.where(before, p_after[j], p_before[j])
    apart = np.where(multiplicity > 1, p_own - p_other, (p_own - p_kj + p_own[j] - p_jk) / 2)
    index = np.where(neighbour >= 0, 1 - np.clip(apart, 0.0, 1.0), np.nan)
    return Separation(index, neighbour, p_own, norm)


def _probabilities(solution: Solution) -> tuple[FloatArray, ...]:
    """Probabilities that the mean prediction of each cluster gives, and its norm.

    To the own class, another of its cluster, one of the cluster before and one of the cluster
    after; five arrays of shape (C,).
    """
    counts, multiplicity = solution.cluster_count, solution.multiplicity
    size = counts.size
    bias = solution.scaled_bias / np.sqrt(multiplicity)
    root_k, root_n = np.sqrt(multiplicity), np.sqrt(counts)
    alpha = np.where(multiplicity > 1, solution.amplitudes, 0.0)
    other = (solution.between.diagonal() - alpha) / (multiplicity * root_n)
    own = other + alpha / root_n
    squares = np.empty(size)
    p_own, p_other, p_before, p_after = np.empty((4, size))
    for start in range(0, size, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, size))
        here = block - start
        matrix = _columns(solution.between, block)
        squares[block] = (matrix * matrix).sum(axis=0)
        logits = matrix / root_k[:, None] / (root_k * root_n)[block] + bias[:, None]
        logits[block, here] = other[block] + bias[block]
        own_logits = own[block] + bias[block]
        top = np.maximum(logits.max(axis=0), own_logits)
        masses = np.exp(logits - top)
        e_own, e_other = np.exp(own_logits - top), masses[block, here]
        # One of the classes of the own cluster is the class itself.
        total = multiplicity @ masses + (e_own - e_other)
        p_own[block], p_other[block] = e_own / total, e_other / total
        p_before[block] = masses[np.maximum(block - 1, 0), here] / total
        p_after[block] = masses[np.minimum(block + 1, size - 1), here] / total
    norm = np.sqrt((squares + alpha**2 * (multiplicity - 1)) / (multiplicity * counts))
    return p_own, p_other, p_before, p_after, norm


def _columns(between: Between, block: NDArray[np.int64]) -> FloatArray:
    """Columns of M as a new array of shape (C, len(block))."""
    if not isinstance(between, StructuredBetween):
        return between.dense()[:, block]
    columns: FloatArray = between.left @ between.right[block].T
    columns[block, np.arange(block.size)] += between.d[block]
    return columns


def _neighbours(counts: FloatArray, multiplicity: FloatArray) -> NDArray[np.int64]:
    """The cluster itself if it has several classes, else the nearest in log count; -1 if none.

    Clusters come in order of falling count. Of two at the same distance it is the smaller.
    """
    size = counts.size
    itself = np.arange(size)
    if size == 1:
        return np.where(multiplicity > 1, itself, -1)
    gaps = -np.diff(np.log(counts))
    above, below = np.append(np.inf, gaps), np.append(gaps, np.inf)
    nearest = np.where(above < below, itself - 1, itself + 1)
    return np.where(multiplicity > 1, itself, nearest)
