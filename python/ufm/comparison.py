"""A network's last layer against the unconstrained feature model: :func:`compare_prediction`."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._comparison_text import summary
from ufm._html import Shown
from ufm.metrics import (
    ClusterSpread,
    GramErrors,
    MetricWarning,
    PredictionErrors,
    block_cosines,
    cluster_spread,
    clusters_of,
    gram_errors,
    mean_prediction,
    predicted_grams,
    prediction_errors,
)
from ufm.metrics._arrays import to_numpy
from ufm.problem import (
    FloatArray,
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_positive,
    check_vector,
)
from ufm.solution import Solution
from ufm.solver import solve
from ufm.theory.nonnegative import nonnegative_solution

THEORIES = ("free", "nonnegative")


@dataclass(frozen=True, eq=False)
class TheoryFit:
    """A network beside one prediction.

    Attributes
    ----------
    name : str
        "free" (features of either sign) or "nonnegative" (features after a ReLU).
    solution : Solution
        The optimum for the run's counts and lambdas.
    errors : PredictionErrors
        Of Z and b, relative and in logits; b raw and with its mean taken off.
    cosines : ndarray of shape (C, C)
        Predicted mean cosines between prediction vectors by pairs of clusters; NaN where undefined.
    cosine_error : float
        Largest difference of a measured mean cosine to the predicted; NaN where none is defined.
    spreads : tuple of float
        Predicted spread of each cluster's mean predictions, in logits; NaN for a single class.
    collapsed : tuple of bool or None
        Predicted verdict on each cluster, None for a single class.
    agrees : bool
        Whether the measured verdict on every cluster is the predicted one.
    grams : GramErrors or None
        Errors of W W^T and M M^T where W, the class means and both lambdas were given; only with
        free features, since nonnegative ones may be optimal with several Gram matrices.
    """

    name: str
    solution: Solution
    errors: PredictionErrors
    cosines: FloatArray
    cosine_error: float
    spreads: tuple[float, ...]
    collapsed: tuple[bool | None, ...]
    agrees: bool
    grams: GramErrors | None

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; K x K arrays are left out."""
        return {
            "status": self.solution.status.name,
            "relative_gap": self.solution.relative_gap,
            "objective": self.solution.objective,
            "errors": asdict(self.errors),
            "cosines": _plain(self.cosines),
            "cosine_error": self.cosine_error,
            "spreads": list(self.spreads),
            "collapsed": list(self.collapsed),
            "agrees": self.agrees,
            "grams": None if self.grams is None else asdict(self.grams),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """A network's mean predictions and bias beside the model's; made by `compare_prediction`.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Samples per class.
    lambda_z, lambda_b : float
        The model's penalties; lambda_b is infinite for a network without bias.
    measured : ndarray of shape (K, K), or pair (W, M)
        Mean prediction matrix as it was given.
    b : ndarray of shape (K,) or None
        Bias.
    clusters : list of ClusterSpread
        Spread and verdict measured of each cluster, in order of falling count.
    cosines : ndarray of shape (C, C)
        Measured mean cosines by pairs of clusters of equal counts.
    rtol, atol : float
        Tolerances of the measured verdicts.
    fits : tuple of TheoryFit
        One for each theory compared with.
    """

    counts: FloatArray
    lambda_z: float
    lambda_b: float
    measured: Any
    b: FloatArray | None
    clusters: list[ClusterSpread]
    cosines: FloatArray
    rtol: float
    atol: float
    fits: tuple[TheoryFit, ...]

    @cached_property
    def Z(self) -> FloatArray:
        """Measured mean prediction matrix, shape (K, K)."""
        given = self.measured
        dense = mean_prediction(*given) if isinstance(given, tuple) else given
        return np.asarray(to_numpy(dense), dtype=np.float64)

    @property
    def best(self) -> TheoryFit | None:
        """The theory nearer to Z (root mean square, in logits).

        None where their predictions of Z differ by less than a hundredth of the smaller error.
        """
        ordered = sorted(self.fits, key=lambda fit: fit.errors.Z_rms)
        if len(ordered) > 1:
            nearest, other = ordered[0], ordered[1]
            apart = prediction_errors(nearest.solution, None, other.solution).Z_rms
            if apart <= 0.01 * nearest.errors.Z_rms:
                return None
        return ordered[0]

    @property
    def converged(self) -> bool:
        """Whether every prediction reached its tolerance."""
        return all(fit.solution.converged for fit in self.fits)

    def fit(self, name: str) -> TheoryFit:
        """The comparison with one theory, "free" or "nonnegative".

        Raises
        ------
        KeyError
            If that theory was not compared with.
        """
        for found in self.fits:
            if found.name == name:
                return found
        raise KeyError(f"no theory {name!r}; compared with {[fit.name for fit in self.fits]}")

    def summary(self) -> str:
        """Errors, cosines and verdicts as text."""
        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, without K x K arrays."""
        best = self.best
        return {
            "counts": self.counts.tolist(),
            "lambda_z": self.lambda_z,
            "lambda_b": self.lambda_b,
            "b": None if self.b is None else self.b.tolist(),
            "clusters": [asdict(cluster) for cluster in self.clusters],
            "cosines": _plain(self.cosines),
            "rtol": self.rtol,
            "atol": self.atol,
            "best": None if best is None else best.name,
            "theories": {fit.name: fit.to_dict() for fit in self.fits},
        }

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Write a picture of Z beside the predicted ones, on one colour scale.

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra.
        ValueError, OSError
            If the file cannot be written; the suffix chooses the format.
        """
        from ufm import figures

        figures.check_path(path)
        return figures.save(figures.comparison(self), path)


def compare_prediction(
    Z: Any,
    b: ArrayLike | None,
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    *,
    class_weights: ArrayLike | None = None,
    lambda_w: float | None = None,
    lambda_h: float | None = None,
    theories: Sequence[str] = THEORIES,
    tol: float = 1e-8,
    rtol: float = 0.02,
    atol: float = 0.02,
    time_limit: float | None = None,
) -> Comparison:
    """Compare mean predictions and bias of a network with what the model predicts.

    Parameters
    ----------
    Z : array of shape (K, K), or pair (W, M) of shapes (K, d)
        Mean prediction matrix W M^T of the training set, without bias; column k is class k's. The
        pair adds the comparison of W W^T and M M^T.
    b : array_like of shape (K,) or None
        Bias; None for a network without one.
    counts : array_like of shape (K,)
        Samples per class of the training set, with repetitions where classes are oversampled.
    lambda_z : float
        sqrt(lambda_W lambda_H); positive.
    lambda_b : float
        Weight of the bias penalty; ignored where b is None (no bias is lambda_b = infinity).
    class_weights : array_like of shape (K,), optional
        Factor on the cross-entropy of each class, not normalised: its loss weight is w_k n_k/N.
    lambda_w, lambda_h : float, optional
        The two penalties, for the geometry of W and of the class means;
        sqrt(lambda_w lambda_h) = lambda_z.
    theories : sequence of str
        "free", "nonnegative" or both.
    tol : float
        Relative duality gap of the predictions.
    rtol, atol : float
        A cluster has collapsed where the spread of its mean predictions is at most
        ``max(rtol * spread of all classes, atol)``; atol in logits, for lambda_z near lambda_max
        where all of Z is small.
    time_limit : float, optional
        Seconds for each prediction. One that was cut short says so in its solution's status.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Notes
    -----
    The predicted verdict is that of the solution: with free features collapse is at
    lambda_z >= sqrt(n)/N (Hong and Ling, arXiv 2309.09725), with nonnegative ones elsewhere
    (see :func:`ufm.nonnegative_thresholds`).

    Examples
    --------
    >>> import ufm
    >>> optimum = ufm.solve([50] * 3 + [10] * 3, 0.012, 0.02, tol=1e-10)
    >>> found = ufm.compare_prediction(optimum.Z, optimum.b, optimum.counts, 0.012, 0.02)
    >>> found.best.name, found.fit("free").errors.Z_relative < 1e-4, found.fit("free").agrees
    ('free', True, True)
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    lambda_z = check_positive("lambda_z", lambda_z)
    bias = None if b is None else check_vector("b", b, positive=False)
    if bias is not None and bias.shape != counts.shape:
        raise ValueError(f"b must have shape ({counts.size},) like counts, got {bias.shape}")
    lambda_b = math.inf if bias is None else check_lambda_b(lambda_b)
    _check_split(lambda_z, lambda_w, lambda_h)
    names = _check_theories(theories)
    options: dict[str, Any] = {"class_weights": weights, "tol": tol, "time_limit": time_limit}
    measured: Any = Z
    spread: dict[str, Any] = {"class_weights": weights, "rtol": rtol, "atol": atol}
    clusters = cluster_spread(measured, counts, lambda_z=lambda_z, **spread)
    cosines = _cosines_of(measured, counts)
    pair = measured if isinstance(measured, tuple) else None
    fits = []
    for name in names:
        solver = solve if name == "free" else nonnegative_solution
        solution = solver(counts, lambda_z, lambda_b, **options)
        predicted = _cosines_of(solution, counts)
        verdicts = tuple(
            cluster.collapsed if cluster.multiplicity > 1 else None for cluster in solution.clusters
        )
        known = np.abs(cosines - predicted)
        grams = None
        if name == "free" and pair is not None and lambda_w is not None and lambda_h is not None:
            grams = gram_errors(
                pair[0], pair[1], predicted_grams(solution, counts, lambda_w, lambda_h)
            )
        fits.append(
            TheoryFit(
                name=name,
                solution=solution,
                errors=prediction_errors(measured, bias, solution),
                cosines=predicted,
                cosine_error=float(np.nanmax(known)) if np.isfinite(known).any() else math.nan,
                spreads=tuple(one.spread for one in cluster_spread(solution, counts, **spread)),
                collapsed=verdicts,
                agrees=verdicts == tuple(cluster.collapsed for cluster in clusters),
                grams=grams,
            )
        )
    return Comparison(
        counts=counts,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        measured=measured,
        b=bias,
        clusters=clusters,
        cosines=cosines,
        rtol=rtol,
        atol=atol,
        fits=tuple(fits),
    )


def _check_split(lambda_z: float, lambda_w: float | None, lambda_h: float | None) -> None:
    if lambda_w is None or lambda_h is None:
        return
    whole = math.sqrt(check_positive("lambda_w", lambda_w)) * math.sqrt(
        check_positive("lambda_h", lambda_h)
    )
    if not math.isclose(whole, lambda_z, rel_tol=1e-6):
        raise ValueError(
            f"lambda_w and lambda_h must have sqrt(lambda_w lambda_h) = lambda_z = {lambda_z:g}, "
            f"got {whole:g}"
        )


def _check_theories(theories: Sequence[str]) -> tuple[str, ...]:
    names = (theories,) if isinstance(theories, str) else tuple(theories)
    if not names or any(name not in THEORIES for name in names) or len(set(names)) < len(names):
        raise ValueError(f"theories must be one or both of {', '.join(THEORIES)}, got {theories!r}")
    return names


def _cosines_of(Z: Any, counts: FloatArray) -> FloatArray:
    with warnings.catch_warnings():
        # Vectors that are zero have no direction: NaN in the table says so.
        warnings.simplefilter("ignore", MetricWarning)
        return block_cosines(Z, clusters_of(counts)).mean


def _plain(matrix: FloatArray) -> list[list[float]]:
    rows: list[list[float]] = matrix.tolist()
    return rows
