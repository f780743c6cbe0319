"""Decisions of the classifier and of the nearest class mean, and what the bias does to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ufm.metrics._arrays import (
    Array,
    as_float64,
    as_matrix,
    blocks,
    check_classes,
    check_several,
    issue,
    namespace,
    norm,
    row_norms,
)
from ufm.metrics._pairs import pair_tiles

# Means closer than this share of the root mean square of ||c_k|| make the nearest one a matter of
# chance.
COINCIDENT = 1e-2


@dataclass(frozen=True)
class NC4:
    """Agreement with the nearest class mean; ``float(result)`` is its value.

    Attributes
    ----------
    value : float
        Share of the samples with argmax(W h + b) = argmin_k ||h - m_k||.
    samples : int
        How many there were.
    closest : float
        Smallest distance of two class means over the root mean square of ||c_k||.
    meaningful : bool
        Whether the class means are far enough apart for the nearest to mean anything.
    warnings : tuple of str
        Set where they are not.
    """

    value: float
    samples: int
    closest: float
    meaningful: bool
    warnings: tuple[str, ...]

    def __float__(self) -> float:
        return self.value


def nc4(features: Array, M: Array, W: Array, b: Array | None = None) -> NC4:
    """Share of samples that the classifier and the nearest class mean give to the same class.

    Meaningless once class means coincide, as they do under minority collapse: the result says so.

    Parameters
    ----------
    features : array or tensor of shape (N, d)
        Last-layer features.
    M : array or tensor of shape (K, d)
        Class means.
    W : array or tensor of shape (K, d)
        Classifier.
    b : array or tensor of shape (K,), optional
        Bias; zero where the classifier has none.

    Returns
    -------
    NC4

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Warns
    -----
    MetricWarning
        If class means coincide.
    """
    M = as_float64("M", M, 2)
    check_several(M.shape[0])
    features = as_matrix("features", features)
    if features.shape[1] != M.shape[1]:
        raise ValueError(
            f"features must have {M.shape[1]} columns to fit M, got shape {tuple(features.shape)}"
        )
    W = as_float64("W", W, 2, like=M)
    if tuple(W.shape) != tuple(M.shape):
        raise ValueError(f"W must have the shape of M, {tuple(M.shape)}, got {tuple(W.shape)}")
    bias = namespace(M).zeros_like(M[:, 0]) if b is None else as_float64("b", b, 1, like=M)
    check_classes("b", bias, M.shape[0])
    agreed = 0
    for block in blocks(features.shape[0], max(M.shape)):
        part = as_float64("features", features[block], 2, like=M)
        decided = namespace(M).argmax(part @ W.T + bias, axis=1)
        agreed += int((decided == nearest_mean(part, M)).sum())
    number = int(features.shape[0])
    return nc4_result(agreed, number, M)


def nc4_result(agreed: float, samples: int, M: Array) -> NC4:
    """NC4 from the number of agreements, judged by the distances of the class means."""
    closest = closest_means(M)
    meaningful = closest > COINCIDENT
    messages: tuple[str, ...] = ()
    if not meaningful:
        messages = (
            f"class means coincide (closest pair at {closest:.1e} of their size): the nearest "
            "mean is a matter of chance and NC4 means nothing",
        )
    issue(messages)
    value = agreed / samples if samples else math.nan
    return NC4(value, samples, closest, meaningful, messages)


def nearest_mean(features: Array, M: Array) -> Array:
    """Class with the nearest mean, shape (N,); float64 features of shape (N, d)."""
    # ||h - m||^2 without the part that all classes share; around the mean, so that little cancels.
    centre = M.mean(axis=0)
    means = M - centre
    half = 0.5 * (means * means).sum(axis=1)
    return namespace(M).argmin(half - (features - centre) @ means.T, axis=1)


def closest_means(M: Array) -> float:
    """Smallest distance of two class means over the root mean square of ||c_k||; 0 if all agree."""
    centred = M - M.mean(axis=0)
    scale = norm(centred) / math.sqrt(M.shape[0])
    if scale == 0:
        return 0.0
    least = math.inf
    for tile in pair_tiles(M):
        least = min(least, float(tile.masked(tile.square_distances, math.inf).min()))
    return math.sqrt(least) / scale


def nc5(M: Array, mu_ood: Array) -> float:
    """Mean over the classes of |cos(m_k, mu_ood)|: how far unknown data lies across the means.

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means, not centred.
    mu_ood : array or tensor of shape (d,)
        Mean feature of data from outside the training distribution.

    Returns
    -------
    float
        From 0 to 1; classes with a zero mean have no angle and are left out.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed, or no angle is defined.
    """
    M = as_float64("M", M, 2)
    outside = as_float64("mu_ood", mu_ood, 1, like=M)
    if outside.shape[0] != M.shape[1]:
        raise ValueError(f"mu_ood must have shape ({M.shape[1]},), got {tuple(outside.shape)}")
    lengths = row_norms(M)
    defined = lengths > 0
    length = norm(outside)
    if length == 0 or not bool(defined.any()):
        raise ValueError("mu_ood and at least one row of M must not be zero")
    cosines = (M[defined] @ outside) / (lengths[defined] * length)
    return float(namespace(M).abs(cosines).mean())


def bias_cancellation(W: Array, mu: Array, b: Array | None = None) -> float:
    """||W mu + b||: zero where the bias cancels what the global mean contributes to the logits.

    Parameters
    ----------
    W : array or tensor of shape (K, d)
        Classifier.
    mu : array or tensor of shape (d,)
        Global mean of the features.
    b : array or tensor of shape (K,), optional
        Bias; zero where the classifier has none.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    W = as_float64("W", W, 2)
    mu = as_float64("mu", mu, 1, like=W)
    if mu.shape[0] != W.shape[1]:
        raise ValueError(f"mu must have shape ({W.shape[1]},), got {tuple(mu.shape)}")
    logits = W @ mu
    if b is not None:
        b = as_float64("b", b, 1, like=W)
        check_classes("b", b, W.shape[0])
        logits = logits + b
    return norm(logits)
