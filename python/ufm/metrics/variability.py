"""Within-class variability against the distance of the means: :func:`nc1` and :func:`cdnv`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ufm.metrics._arrays import (
    EPSILON,
    Array,
    as_float64,
    as_matrix,
    check_classes,
    check_several,
    issue,
    namespace,
    to_numpy,
)
from ufm.metrics._pairs import ClusterSums, pair_tiles
from ufm.problem import FloatArray, check_choice, check_real


class Convention(NamedTuple):
    """How NC1 weighs the class means; see :data:`CONVENTIONS`."""

    weights: str
    mean: str
    rtol: float | None


#: The conventions of NC1 in use. They differ by factors where classes are imbalanced.
#:
#: - ``"class-weighted"``: Sigma_B = sum_k (n_k/N) c_k c_k^T around the sample-weighted mean,
#:   tolerance 1e-10. The only one with Sigma_T = Sigma_W + Sigma_B; that of Hong and Ling's code.
#: - ``"unweighted"``: Sigma_B = (1/K) sum_k c_k c_k^T around the sample-weighted mean (Zhu et al.
#:   2021).
#: - ``"neural-collapse"``: the same around the mean of the class means, with the tolerance of a
#:   pseudo-inverse in single precision (the package neural-collapse); computed in float64 here.
CONVENTIONS = {
    "class-weighted": Convention("counts", "counts", 1e-10),
    "unweighted": Convention("equal", "counts", 1e-10),
    "neural-collapse": Convention("equal", "equal", None),
}
# A cut is clear where no eigenvalue lies within this factor of it.
_GAP = 10.0


@dataclass(frozen=True, eq=False)
class NC1:
    """Within-class variability collapse; ``float(result)`` is its value.

    Attributes
    ----------
    value : float
        tr(Sigma_W pinv(Sigma_B)) / K.
    rank : int
        Eigenvalues of Sigma_B above the cut, those that the pseudo-inverse inverts.
    eigenvalues : ndarray
        Of Sigma_B, falling; min(K, d) of them.
    cut : float
        ``rtol`` times the largest eigenvalue.
    weights, mean, rtol
        The convention.
    warnings : tuple of str
        Why the value may depend on the cut.
    """

    value: float
    rank: int
    eigenvalues: FloatArray
    cut: float
    weights: str
    mean: str
    rtol: float
    warnings: tuple[str, ...]

    def __float__(self) -> float:
        return self.value


def nc1(
    M: Array,
    covariance: Array,
    counts: Array | None = None,
    *,
    convention: str = "class-weighted",
    weights: str | None = None,
    mean: str | None = None,
    rtol: float | None = None,
) -> NC1:
    """NC1 = tr(Sigma_W pinv(Sigma_B)) / K: within-class against between-class variability.

    The value is decided by the tolerance of the pseudo-inverse once some class means nearly merge
    (minority collapse): then the result says so. Sigma_B is never formed; its eigenvalues are the
    squared singular values of the weighted, centred class means.

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means. Rows of classes with a count of zero are left out, and not counted in K.
    covariance : array or tensor of shape (d, d)
        Sigma_W.
    counts : array or tensor of shape (K,), optional
        Samples per class; needed unless weights and mean are both "equal".
    convention : {"class-weighted", "unweighted", "neural-collapse"}
        See :data:`CONVENTIONS`; the arguments below override it.
    weights : {"counts", "equal"}, optional
        Weight n_k/N or 1/K of each class in Sigma_B.
    mean : {"counts", "equal"}, optional
        Global mean over samples or over classes.
    rtol : float, optional
        Eigenvalues of Sigma_B up to ``rtol`` times the largest count as zero.

    Returns
    -------
    NC1

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Warns
    -----
    MetricWarning
        If an eigenvalue lies near the cut, or one that is not rounding lies below it.

    Examples
    --------
    >>> import numpy as np
    >>> from ufm import metrics
    >>> found = metrics.nc1(5 * np.eye(3), 0.01 * np.eye(3), [50, 50, 10])
    >>> round(float(found), 6), found.rank
    (0.001369, 2)
    """
    rule = _convention(convention, weights, mean, rtol)
    M, counts = present_classes(M, counts)
    num_classes, dim = M.shape
    check_several(num_classes)
    covariance = as_float64("covariance", covariance, 2, like=M)
    if tuple(covariance.shape) != (dim, dim):
        raise ValueError(
            f"covariance must have shape ({dim}, {dim}) to fit M, got {tuple(covariance.shape)}"
        )
    tolerance = dim * float(np.finfo(np.float32).eps) if rule.rtol is None else rule.rtol
    share = class_shares(M, counts, rule.weights)
    centred = M - global_mean(M, counts if rule.mean == "counts" else None, rule.mean)
    eigenvalues, directions = _spectrum(centred * namespace(M).sqrt(share)[:, None])
    values = to_numpy(eigenvalues)
    cut = tolerance * float(values[0])
    rank = int((values > cut).sum())
    kept = directions[:rank]
    within = ((kept @ covariance) * kept).sum(axis=1)
    value = float((within / eigenvalues[:rank]).sum()) / num_classes if rank else math.inf
    messages = _about_cut(values, cut, rank, max(M.shape))
    issue(messages)
    return NC1(value, rank, values, cut, rule.weights, rule.mean, tolerance, messages)


def _convention(
    convention: str, weights: str | None, mean: str | None, rtol: float | None
) -> Convention:
    rule = CONVENTIONS[check_choice("convention", convention, tuple(CONVENTIONS))]
    if weights is not None:
        rule = rule._replace(weights=check_choice("weights", weights, ("counts", "equal")))
    if mean is not None:
        rule = rule._replace(mean=check_choice("mean", mean, ("counts", "equal")))
    if rtol is not None:
        rtol = check_real("rtol", rtol)
        if not 0 <= rtol < 1:
            raise ValueError(f"rtol must be at least 0 and below 1, got {rtol}")
        rule = rule._replace(rtol=rtol)
    return rule


def _spectrum(rows: Array) -> tuple[Array, Array]:
    """Eigenvalues of rows^T rows, falling, and their directions as rows."""
    xp = namespace(rows)
    if rows.shape[0] > 2 * rows.shape[1]:
        rows = xp.linalg.qr(rows)[1]
    _, singular, directions = xp.linalg.svd(rows, full_matrices=False)
    return singular * singular, directions


def _about_cut(values: FloatArray, cut: float, rank: int, size: int) -> tuple[str, ...]:
    if rank == 0:
        return ("all class means coincide: NC1 is infinite",)
    rounding = size * EPSILON * float(values[0])
    messages = []
    near = (values > max(cut / _GAP, rounding)) & (values < cut * _GAP)
    if near.any():
        messages.append(
            f"the spectrum of Sigma_B has no gap at the cut {cut:.2e}: "
            f"{int(near.sum())} eigenvalues lie within a factor of {_GAP:g}; NC1 depends on rtol"
        )
    dropped = values[rank:]
    dropped = dropped[dropped > rounding]
    if dropped.size:
        messages.append(
            f"{dropped.size} eigenvalues of Sigma_B below the cut {cut:.2e} are not rounding "
            f"(up to {dropped[0]:.2e}): class means that nearly merge are ignored; NC1 depends on "
            "rtol"
        )
    return tuple(messages)


@dataclass(frozen=True)
class TraceRatio:
    """tr(Sigma_W) / tr(Sigma_B); ``float(result)`` is its value."""

    value: float
    warnings: tuple[str, ...] = (
        "tr(Sigma_W) / tr(Sigma_B) is blind to minority collapse: large classes dominate it",
    )

    def __float__(self) -> float:
        return self.value


def nc1_trace_ratio(
    M: Array,
    within_trace: float,
    counts: Array | None = None,
    *,
    weights: str = "counts",
    mean: str = "counts",
) -> TraceRatio:
    """tr(Sigma_W) / tr(Sigma_B), blind to minority collapse: a quick look, not a replacement.

    It stays small while the means of the minority classes merge within their noise; the result
    carries that as a warning.

    Parameters
    ----------
    M, counts, weights, mean
        As for :func:`nc1`.
    within_trace : float
        Trace of Sigma_W, ``ClassStatistics.within_trace``.

    Returns
    -------
    TraceRatio

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    rule = _convention("class-weighted", weights, mean, None)
    within = check_real("within_trace", within_trace)
    M, counts = present_classes(M, counts)
    centred = M - global_mean(M, counts if rule.mean == "counts" else None, rule.mean)
    between = float((class_shares(M, counts, rule.weights) * (centred * centred).sum(axis=1)).sum())
    return TraceRatio(within / between if between > 0 else math.inf)


@dataclass(frozen=True, eq=False)
class CDNV:
    """Class-distance normalised variance; ``float(result)`` is its mean.

    Attributes
    ----------
    mean, max : float
        Over all pairs of classes.
    worst_pair : tuple of int
        The pair of classes (rows of M) with the largest value.
    between_clusters : ndarray of shape (C, C) or None
        Mean over the pairs with one class in cluster i and one in cluster j; NaN where there is no
        pair. None where no clusters were given.
    power : int
        Of the distance of the means.
    warnings : tuple of str
        Set where means coincide.
    """

    mean: float
    max: float
    worst_pair: tuple[int, int]
    between_clusters: FloatArray | None
    power: int
    warnings: tuple[str, ...]

    def __float__(self) -> float:
        return self.mean


def cdnv(M: Array, variances: Array, clusters: Array | None = None, *, power: int = 2) -> CDNV:
    """Class-distance normalised variance, (v_i + v_j) / (2 ||m_i - m_j||^2) over pairs of classes.

    Works in tiles: no K x K matrix is formed. Distances of nearly equal means are taken from their
    difference, not from inner products.

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means.
    variances : array or tensor of shape (K,)
        v_k, mean squared distance of a class's features to their mean.
    clusters : array of shape (K,), optional
        Cluster of each class, integers from 0 to C - 1 (see :func:`clusters_of`).
    power : {2, 4}
        Of the distance; some use 4.

    Returns
    -------
    CDNV

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from ufm import metrics
    >>> round(metrics.cdnv(M=5 * np.eye(3), variances=[0.1, 0.1, 0.3]).max, 6)
    0.004
    """
    if power not in (2, 4):
        raise ValueError(f"power must be 2 or 4, got {power!r}")
    M = as_float64("M", M, 2)
    check_several(M.shape[0])
    variances = as_float64("variances", variances, 1, like=M)
    check_classes("variances", variances, M.shape[0])
    if bool((variances < 0).any()):
        raise ValueError(f"variances must be nonnegative, got {float(variances.min()):g}")
    xp = namespace(M)
    sums = ClusterSums(clusters, M)
    total, largest, worst, coincident = 0.0, -math.inf, (0, 1), 0
    for tile in pair_tiles(M):
        half = 0.5 * (variances[tile.rows][:, None] + variances[tile.columns][None, :])
        # What is no pair is infinitely far apart and adds nothing.
        distances = tile.masked(tile.square_distances, math.inf)
        equal = distances == 0
        number = int(equal.sum())
        if number:
            distances[equal] = 1.0
        values = half / distances ** (power // 2)
        if number:
            # Equal means without spread are equal classes: no finite value is right.
            values[equal] = math.inf
        coincident += number
        total += float(values.sum())
        position = int(xp.argmax(values))
        if float(values.reshape(-1)[position]) > largest:
            largest = float(values.reshape(-1)[position])
            row, column = divmod(position, values.shape[1])
            worst = (tile.rows.start + row, tile.columns.start + column)
        sums.add(tile, values)
    messages = (f"{coincident} pairs of class means coincide",) if coincident else ()
    issue(messages)
    pairs = M.shape[0] * (M.shape[0] - 1) / 2
    return CDNV(total / pairs, largest, worst, sums.means(), power, messages)


def present_classes(M: Any, counts: Any) -> tuple[Array, Array | None]:
    """Class means and counts without the classes that have no samples."""
    if counts is None:
        return as_float64("M", M, 2), None
    M = as_matrix("M", M)
    counts = as_float64("counts", counts, 1, like=M)
    if bool((counts < 0).any()):
        raise ValueError(f"counts must be nonnegative, got {float(counts.min()):g}")
    check_classes("counts", counts, M.shape[0])
    seen = counts > 0
    return as_float64("M", M[seen], 2), counts[seen]


def class_shares(M: Array, counts: Array | None, weights: str) -> Array:
    """Weight of each class, summing to one: n_k/N ("counts") or 1/K ("equal")."""
    if weights == "equal":
        return namespace(M).ones_like(M[:, 0]) / M.shape[0]
    if counts is None:
        raise ValueError('counts must be given unless weights and mean are both "equal"')
    return counts / counts.sum()


def global_mean(M: Array, counts: Array | None = None, mean: str = "counts") -> Array:
    """Mean of the features over samples (mean="counts") or over classes ("equal"), shape (d,).

    Parameters
    ----------
    M : array or tensor of shape (K, d)
        Class means.
    counts : array or tensor of shape (K,), optional
        Samples per class; needed for mean="counts".
    mean : {"counts", "equal"}
        What the mean is taken over.

    Returns
    -------
    array or tensor of shape (d,)
    """
    mean = check_choice("mean", mean, ("counts", "equal"))
    M, counts = present_classes(M, counts)
    return class_shares(M, counts, mean) @ M
