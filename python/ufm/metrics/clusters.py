"""Angles and distances by clusters of classes: :func:`block_cosines` and :func:`cluster_spread`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm.metrics._arrays import (
    as_labels,
    check_classes,
    class_sums,
    issue,
    norm,
    row_norms,
    to_numpy,
)
from ufm.metrics._matrices import BlockMatrix, as_class_matrix, class_vectors
from ufm.problem import (
    FloatArray,
    check_choice,
    check_class_weights,
    check_counts,
    check_positive,
    check_real,
)

# Vectors shorter than this share of the longest have no direction.
_ZERO = 1e-12


@dataclass(frozen=True, eq=False)
class BlockCosines:
    """Mean cosines between the prediction vectors of classes, by pairs of clusters.

    Attributes
    ----------
    mean : ndarray of shape (C, C)
        Entry (i, j): over the pairs of different classes, one of cluster i and one of cluster j;
        NaN where there is no such pair.
    by : str
        "columns" (class prediction vectors) or "rows" (one logit over the classes).
    warnings : tuple of str
        Set where vectors are zero; they are left out.
    """

    mean: FloatArray
    by: str
    warnings: tuple[str, ...]


def block_cosines(Z: Any, clusters: ArrayLike, *, by: str = "columns") -> BlockCosines:
    """Mean cosine inside each cluster and between clusters, without any K x K matrix.

    The class prediction vectors are the columns of Z; rows differ from them under imbalance.

    Parameters
    ----------
    Z : array of shape (K, K), pair (W, M) with Z = W M^T, or Solution
        Mean prediction matrix.
    clusters : array_like of shape (K,)
        Cluster of each class, from 0 to C - 1; :func:`clusters_of` makes it from counts.
    by : {"columns", "rows"}
        Which vectors to take.

    Returns
    -------
    BlockCosines

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Warns
    -----
    MetricWarning
        If vectors are zero and so have no direction.

    Examples
    --------
    >>> import ufm
    >>> from ufm import metrics
    >>> counts = [500] * 5 + [100] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.0027, lambda_b=0.02)
    >>> found = metrics.block_cosines(solution.Z, metrics.clusters_of(counts))
    >>> found.mean.round(4).tolist()
    [[-0.2282, -0.0887], [-0.0887, 0.3146]]
    """
    by = check_choice("by", by, ("columns", "rows"))
    matrix = as_class_matrix("Z", Z)
    labels = to_numpy(as_labels("clusters", clusters, None, np.empty(0)))
    check_classes("clusters", labels, matrix.num_classes)
    if isinstance(matrix, BlockMatrix):
        sums, pairs, undefined = _of_blocks(matrix, labels, by)
    else:
        sums, pairs, undefined = _of_vectors(class_vectors(matrix, by), labels)
    mean = np.where(pairs > 0, sums / np.maximum(pairs, 1.0), np.nan)
    messages = (f"{undefined} {by} are zero and have no direction: left out",) if undefined else ()
    issue(messages)
    return BlockCosines(mean, by, messages)


def _pairs(sizes: FloatArray) -> FloatArray:
    pairs: FloatArray = np.outer(sizes, sizes) - np.diag(sizes)
    return pairs


def _of_vectors(vectors: Any, labels: Any) -> tuple[FloatArray, FloatArray, int]:
    number = int(labels.max()) + 1
    lengths = row_norms(vectors)
    defined = lengths > _ZERO * float(lengths.max())
    unit = vectors[defined] / lengths[defined][:, None]
    labels = labels[to_numpy(defined)]
    sizes = np.bincount(labels, minlength=number).astype(np.float64)
    total = class_sums(unit, as_labels("clusters", labels, number, unit), number)
    # A sum over pairs of classes is the product of two sums; each class with itself gives 1.
    sums = to_numpy(total @ total.T) - np.diag(sizes)
    return sums, _pairs(sizes), int(to_numpy(~defined).sum())


def _of_blocks(matrix: BlockMatrix, labels: Any, by: str) -> tuple[FloatArray, FloatArray, int]:
    own, between, sizes = matrix.own, matrix.between, matrix.sizes
    if by == "rows":
        between = between.T
    own_cluster = np.diag(between)
    products = between.T @ (sizes[:, None] * between)
    squares = np.diag(products) + own**2 - own_cluster**2
    # Rows of the two classes themselves hold their own entry instead of the block's.
    correction = (own - own_cluster)[:, None] * between
    lengths = np.sqrt(np.maximum(squares, 0.0))
    defined = lengths > _ZERO * lengths.max()
    scale = np.where(defined, lengths, 1.0)
    cosines = (products + correction + correction.T) / np.outer(scale, scale)
    counted = np.where(defined, sizes, 0.0)
    pairs = _pairs(counted)
    target = np.zeros(sizes.size, dtype=np.int64)
    target[matrix.cluster_of] = labels
    if not np.array_equal(target[matrix.cluster_of], labels):
        raise ValueError("clusters must not split a cluster of the solution")
    member = (target[None, :] == np.arange(int(labels.max()) + 1)[:, None]).astype(np.float64)
    undefined = int(sizes[~defined].sum())
    return member @ (cosines * pairs) @ member.T, member @ pairs @ member.T, undefined


@dataclass(frozen=True)
class ClusterSpread:
    """How far apart the classes of one cluster are, and whether that is collapse.

    Attributes
    ----------
    count, class_weight : float
        Samples and loss weight of each class of the cluster.
    multiplicity : int
        Number of classes.
    spread : float
        Root mean square distance of the cluster's vectors to their mean; NaN for a single class.
    relative : float
        That over the root mean square distance of all classes' vectors to the overall mean.
    collapsed : bool or None
        Whether the spread is within the tolerance; None for a single class.
    threshold : float
        lambda_Z at and above which theory merges the cluster, NaN for a single class.
    predicted : bool or None
        Theory's verdict where lambda_z was given.
    """

    count: float
    class_weight: float
    multiplicity: int
    spread: float
    relative: float
    collapsed: bool | None
    threshold: float
    predicted: bool | None


def cluster_spread(
    Z: Any,
    counts: ArrayLike,
    *,
    lambda_z: float | None = None,
    class_weights: ArrayLike | None = None,
    rtol: float = 0.05,
    atol: float = 0.0,
) -> list[ClusterSpread]:
    """Spread of the mean predictions of every cluster, with a verdict, beside the threshold.

    A cluster has collapsed where its spread is at most ``max(rtol * s, atol)``, s the spread of
    all classes. Theory merges it if and only if lambda_Z >= w sqrt(n) / N (Hong and Ling, arXiv
    2309.09725; with class weight w, derived).

    Parameters
    ----------
    Z : array of shape (p, K), or pair (W, M) with Z = W M^T
        Column k belongs to class k: the mean prediction matrix, or the transposed class means.
    counts : array_like of shape (K,)
        Samples per class; equal ones form a cluster.
    lambda_z : float, optional
        sqrt(lambda_W lambda_H), to add theory's verdict.
    class_weights : array_like of shape (K,), optional
        Loss weight per class; classes of a cluster share it.
    rtol, atol : float
        Tolerances of the verdict; ``atol`` in the units of Z (logits) matters where all of Z is
        nearly zero.

    Returns
    -------
    list of ClusterSpread
        In order of falling count.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> from ufm import metrics
    >>> counts = [500] * 5 + [100] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.0027, lambda_b=0.02)
    >>> [
    ...     (cluster.collapsed, cluster.predicted)
    ...     for cluster in metrics.cluster_spread(solution.Z, counts, lambda_z=0.0027)
    ... ]
    [(False, False), (False, False)]
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    weights = np.ones_like(counts) if weights is None else weights
    if lambda_z is not None:
        lambda_z = check_positive("lambda_z", lambda_z)
    rtol, atol = check_real("rtol", rtol), check_real("atol", atol)
    if rtol < 0 or atol < 0:
        raise ValueError(f"rtol and atol must be nonnegative, got {rtol} and {atol}")
    matrix = as_class_matrix("Z", Z, square=False)
    if matrix.num_classes != counts.size:
        raise ValueError(f"Z must have {counts.size} columns like counts, got {matrix.num_classes}")
    vectors = class_vectors(matrix)
    scale = norm(vectors - vectors.mean(axis=0)) / math.sqrt(counts.size)
    keys, members = np.unique(np.stack([-counts, -weights]), axis=1, return_inverse=True)
    number = keys.shape[1]
    labels = as_labels("counts", members.reshape(-1), number, vectors)
    sizes = np.bincount(members.reshape(-1), minlength=number)
    means = class_sums(vectors, labels, number)
    means /= class_sums(vectors[:, :1] * 0 + 1, labels, number)
    offsets = vectors - means[labels]
    squares = to_numpy(class_sums((offsets * offsets).sum(axis=1)[:, None], labels, number))[:, 0]
    result = []
    for i in range(number):
        count, weight = -float(keys[0, i]), -float(keys[1, i])
        threshold = weight * math.sqrt(count) / float(counts.sum())
        spread = math.sqrt(float(squares[i]) / int(sizes[i]))
        several = int(sizes[i]) > 1
        result.append(
            ClusterSpread(
                count,
                weight,
                int(sizes[i]),
                spread if several else math.nan,
                (spread / scale if scale > 0 else 0.0) if several else math.nan,
                spread <= max(rtol * scale, atol) if several else None,
                threshold if several else math.nan,
                lambda_z >= threshold if several and lambda_z is not None else None,
            )
        )
    return result
