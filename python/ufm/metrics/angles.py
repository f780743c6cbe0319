"""Lengths of the class means and the angles between them: :func:`nc2` and :func:`gnc2`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ufm.metrics._arrays import (
    EPSILON,
    TILE,
    Array,
    Running,
    as_float64,
    check_several,
    issue,
    namespace,
    norm,
    row_norms,
)
from ufm.metrics._pairs import pair_tiles


@dataclass(frozen=True)
class NC2:
    """Distance of the centred class means from a simplex equiangular tight frame (ETF).

    Attributes
    ----------
    norm_variation : float
        Standard deviation over mean of ||c_k||.
    cosine_deviation : float
        Standard deviation of the pairwise cosines.
    equiangularity : float
        Mean over pairs of |cos + 1/(K-1)|; absolute values, so that deviations do not cancel.
    gram_distance : float
        || C C^T / ||C C^T||_F - E / sqrt(K-1) ||_F, between 0 and sqrt(2).
    warnings : tuple of str
        Set where cosines are undefined.

    Standard deviations are those of the population (division by the number, not one less).
    """

    norm_variation: float
    cosine_deviation: float
    equiangularity: float
    gram_distance: float
    warnings: tuple[str, ...]


def nc2(M: Array, mu: Array | None = None) -> NC2:
    """How far the centred class means are from an ETF: lengths, angles and Gram matrix.

    The ETF is the target of balanced classes only; for others see :func:`gram_errors` and
    :func:`block_cosines`. Works in tiles: no K x K matrix is formed for large K.

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means, or rows of the classifier.
    mu : array or tensor of shape (d,), optional
        Global mean; the mean of the rows where not given.

    Returns
    -------
    NC2

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Warns
    -----
    MetricWarning
        If a class mean equals the global mean, so that it has no direction.

    Examples
    --------
    >>> import numpy as np
    >>> from ufm import metrics
    >>> frame = np.eye(4) - 1 / 4
    >>> found = metrics.nc2(frame, frame.mean(axis=0))
    >>> round(found.norm_variation, 9), round(found.equiangularity, 9)
    (0.0, 0.0)
    """
    C = centred_means(M, mu)
    num_classes = C.shape[0]
    lengths = row_norms(C)
    norms = Running()
    norms.add(lengths)
    unit, undefined = unit_rows(C)
    cosines, deviations = Running(), Running()
    for tile in pair_tiles(unit):
        values = 1.0 - 0.5 * tile.chosen(tile.square_distances)
        cosines.add(values)
        deviations.add(namespace(C).abs(values + 1.0 / (num_classes - 1)))
    messages = _about_directions(undefined)
    issue(messages)
    return NC2(
        norm_variation=math.sqrt(norms.variance) / norms.mean if norms.mean > 0 else math.nan,
        cosine_deviation=math.sqrt(cosines.variance),
        equiangularity=deviations.mean,
        gram_distance=product_distance(C, C),
        warnings=messages,
    )


@dataclass(frozen=True)
class GNC2:
    """Hyperspherical uniformity of the directions of the class means.

    Attributes
    ----------
    mean, variance : float
        Of log(1 / ||c^_i - c^_j||) over pairs of classes, c^ the centred means of length one.
    coincident : int
        Pairs with equal directions; they are left out of both numbers.
    warnings : tuple of str
        Set where directions coincide or are undefined.
    """

    mean: float
    variance: float
    coincident: int
    warnings: tuple[str, ...]


def gnc2(M: Array, mu: Array | None = None) -> GNC2:
    """Mean and variance of log(1 / distance) between the directions of the class means.

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means.
    mu : array or tensor of shape (d,), optional
        Global mean; the mean of the rows where not given.

    Returns
    -------
    GNC2

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Warns
    -----
    MetricWarning
        If directions coincide (their logarithm is infinite) or are undefined.
    """
    unit, undefined = unit_rows(centred_means(M, mu))
    logs = Running()
    coincident = 0
    for tile in pair_tiles(unit):
        squares = tile.chosen(tile.square_distances)
        # Rounding of unit vectors: closer ones are not told apart.
        apart = squares > (4.0 * EPSILON) ** 2
        equal = int((~apart).sum())
        coincident += equal
        logs.add(-0.5 * namespace(unit).log(squares[apart] if equal else squares))
    messages = _about_directions(undefined)
    if coincident:
        messages += (f"{coincident} pairs of directions coincide and are left out of GNC2",)
    issue(messages)
    return GNC2(logs.mean, logs.variance, coincident, messages)


def centred_means(M: Array, mu: Array | None) -> Array:
    """C = M - mu, at least two rows."""
    M = as_float64("M", M, 2)
    check_several(M.shape[0])
    if mu is None:
        return M - M.mean(axis=0)
    mu = as_float64("mu", mu, 1, like=M)
    if mu.shape[0] != M.shape[1]:
        raise ValueError(f"mu must have shape ({M.shape[1]},), got {tuple(mu.shape)}")
    return M - mu


def unit_rows(C: Array) -> tuple[Array, int]:
    """Rows of length one, and how many rows have no direction; those are left out."""
    lengths = row_norms(C)
    largest = float(lengths.max())
    defined = lengths > 64.0 * EPSILON * largest
    return C[defined] / lengths[defined][:, None], int((~defined).sum())


def _about_directions(undefined: int) -> tuple[str, ...]:
    if not undefined:
        return ()
    return (f"{undefined} class means equal the global mean and have no direction: left out",)


def product_distance(A: Array, B: Array) -> float:
    """|| A B^T / ||A B^T||_F - E / sqrt(K-1) ||_F; NaN where the product is zero."""
    num_classes, dim = A.shape
    root = math.sqrt(num_classes - 1)
    if num_classes <= max(TILE, dim + 1):
        product = A @ B.T
        size = norm(product)
        if size == 0:
            return math.nan
        difference = product / size + 1.0 / (num_classes * root)
        index = range(num_classes)
        difference[index, index] -= 1.0 / root
        return norm(difference)
    # The rank of A B^T is below K - 1, so the distance is not small and nothing cancels.
    size = math.sqrt(max(0.0, float(((A.T @ A) * (B.T @ B)).sum())))
    if size == 0:
        return math.nan
    centred_trace = float((A * B).sum()) - float(A.sum(axis=0) @ B.sum(axis=0)) / num_classes
    return math.sqrt(max(0.0, 2.0 - 2.0 * centred_trace / (size * root)))
