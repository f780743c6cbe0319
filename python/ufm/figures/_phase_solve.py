"""Phase diagram of two sizes of classes, lambda_z against their ratio: solving it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm.batch import Batch, solve_many
from ufm.figures._panels import panels_of
from ufm.problem import FloatArray, check_lambda_b, check_limit, check_positive
from ufm.theory.thresholds import thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEPARATE, MERGED, ZERO, ALL_ZERO, UNSOLVED = 0, 1, 2, 3, -1
CURVES = ("minority_collapse", "lambda_c", "majority_collapse", "lambda_max")
_LARGEST_RATIO = 100
_PER_CALL = 65536  # problems solved between two calls of `progress`
_HALVINGS = 50


@dataclass(frozen=True, eq=False)
class PhaseMap:
    """What becomes of the minority over the ratio r = n_A / n_B and lambda_z.

    Attributes
    ----------
    classes_a, classes_b : int
        Classes of the larger count n_A = r n_B and of the smaller, n_B.
    count_b : float
        n_B.
    lambda_b : float
        Weight of the bias penalty.
    ratios : ndarray of shape (R,)
        r, at least 1.
    lambda_z : ndarray of shape (L,)
        Weights of the nuclear norm.
    regions : ndarray of int8, shape (L, R)
        0: no class collapsed; 1: the minority shares one mean prediction; 2: that prediction is
        zero, so that the bias alone predicts the minority; 3: Z = 0; -1: not solved to tolerance.
    curves : dict of str to ndarray of shape (R,)
        Thresholds in lambda_z: ``minority_collapse`` and ``majority_collapse``, sqrt(n)/N (Hong
        and Ling), ``lambda_c``, above which the minority's prediction is zero, and
        ``lambda_max``, above which Z is.
    """

    classes_a: int
    classes_b: int
    count_b: float
    lambda_b: float
    ratios: FloatArray
    lambda_z: FloatArray
    regions: NDArray[np.int8]
    curves: dict[str, FloatArray]

    @property
    def converged(self) -> bool:
        """Whether every problem was solved to its tolerance."""
        return bool((self.regions != UNSOLVED).all())

    def records(self) -> list[dict[str, Any]]:
        """The thresholds, one dictionary a ratio."""
        columns = {"ratio": self.ratios, **self.curves}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {
            "figure": "phase",
            "classes_a": self.classes_a,
            "classes_b": self.classes_b,
            "count_b": self.count_b,
            "lambda_b": self.lambda_b if math.isfinite(self.lambda_b) else "inf",
            "converged": self.converged,
            "ratios": self.ratios.tolist(),
            "lambda_z": self.lambda_z.tolist(),
            "curves": {name: curve.tolist() for name, curve in self.curves.items()},
            "regions": self.regions.tolist(),
        }

    def draw(self) -> Figure:
        """The picture, in a new figure.

        The panels of figures 5 to 8 are marked where they are problems of this diagram.

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra.
        """
        from ufm.figures._phase_map import phase_map

        bias = "no bias" if math.isinf(self.lambda_b) else f"$\\lambda_b$ = {self.lambda_b:g}"
        title = (
            f"{self.classes_a} classes of $n_A$, {self.classes_b} of $n_B$ = {self.count_b:g}, "
            f"{bias}"
        )
        return phase_map(
            self.ratios,
            self.lambda_z,
            self.regions,
            self.curves,
            marks=self._panels(),
            title=title,
        )

    def _panels(self) -> list[tuple[float, float]]:
        """Ratio and lambda_z of the paper's panels with these classes and this bias penalty."""
        problem = (self.classes_a, self.classes_b, self.count_b, self.lambda_b)
        return [
            (panel.count_a / panel.count_b, panel.lambda_z)
            for number in (5, 6, 7, 8)
            for panel in panels_of(number)
            if (panel.classes_a, panel.classes_b, panel.count_b, panel.lambda_b) == problem
        ]


def solve_phase_map(
    classes_a: int = 5,
    classes_b: int = 5,
    count_b: float = 100,
    lambda_b: float = 0.02,
    *,
    ratios: ArrayLike | None = None,
    lambda_z: ArrayLike | None = None,
    points: int = 400,
    threads: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> PhaseMap:
    """Solve a grid of problems with two sizes of classes, and locate its thresholds.

    Parameters
    ----------
    classes_a, classes_b : int
        Classes of the larger and of the smaller count, k_A and k_B; at least 2 each.
    count_b : float
        Samples of each class of the smaller count.
    lambda_b : float
        Weight of the bias penalty, as in `ufm.solve`.
    ratios : array_like of shape (R,), optional
        n_A / n_B, at least 1 and rising; by default from 1 to 100.
    lambda_z : array_like of shape (L,), optional
        Positive and rising; by default around all thresholds.
    points : int
        Length of an axis that is not given.
    threads : int, optional
        As in `ufm.solve_many`.
    progress : callable, optional
        Called as ``progress(problems_done, problems)``.

    Returns
    -------
    PhaseMap

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.

    Notes
    -----
    Both collapse thresholds are closed forms of Hong and Ling, arXiv 2309.09725. lambda_c is found
    by bisection on solves: the solver returns exact zeros.
    """
    k_a, k_b = _at_least_two("classes_a", classes_a), _at_least_two("classes_b", classes_b)
    count_b = check_positive("count_b", count_b)
    lambda_b = check_lambda_b(lambda_b)
    points = _at_least_two("points", points)
    r = _axis("ratios", np.geomspace(1, _LARGEST_RATIO, points) if ratios is None else ratios)
    if r[0] < 1:
        raise ValueError(f"ratios must be at least 1, got {r[0]}")
    counts = np.repeat([[1.0, 1.0]], len(r), axis=0) * count_b
    counts[:, 0] *= r
    counts = np.repeat(counts, [k_a, k_b], axis=1)
    curves = _curves(counts, k_a, lambda_b, threads)
    if lambda_z is None:
        low, high = 0.5 * curves["minority_collapse"].min(), 1.6 * curves["lambda_max"].max()
        lambda_z = np.geomspace(low, high, points)
    lambdas = _axis("lambda_z", lambda_z)
    regions = _regions(counts, lambdas, k_a, lambda_b, threads, progress)
    return PhaseMap(k_a, k_b, count_b, lambda_b, r, lambdas, regions, curves)


def _regions(
    counts: FloatArray,
    lambdas: FloatArray,
    classes_a: int,
    lambda_b: float,
    threads: int | None,
    progress: Callable[[int, int], Any] | None,
) -> NDArray[np.int8]:
    """Region of each lambda_z, in rows, and each row of counts, in columns."""
    number = len(counts)
    regions = np.empty((len(lambdas), number), dtype=np.int8)
    step = max(_PER_CALL // number, 1)
    for start in range(0, len(lambdas), step):
        part = lambdas[start : start + step]
        batch = solve_many(
            np.tile(counts, (len(part), 1)), np.repeat(part, number), lambda_b, threads=threads
        )
        regions[start : start + step] = region(batch, classes_a).reshape(len(part), number)
        if progress is not None:
            progress(min(start + step, len(lambdas)) * number, regions.size)
    return regions


def region(batch: Batch, classes_a: int) -> NDArray[np.int8]:
    """Region of each problem of a batch with k_A classes of the larger count, shape (M,).

    A collapsed minority leaves rank k_A - 1 for differences inside A, and one more where A and B
    differ.
    """
    rank = batch.rank
    collapsed = np.where(rank >= classes_a, MERGED, np.where(rank > 0, ZERO, ALL_ZERO))
    found = np.where(batch.collapsed_classes == 0, SEPARATE, collapsed)
    return np.where(batch.converged, found, UNSOLVED).astype(np.int8)


def _curves(
    counts: FloatArray, classes_a: int, lambda_b: float, threads: int | None
) -> dict[str, FloatArray]:
    total = counts.sum(axis=1)
    minority, majority = np.sqrt(counts[:, -1]) / total, np.sqrt(counts[:, 0]) / total
    largest = np.array([thresholds(row, lambda_b).lambda_max for row in counts])
    low, high = minority.copy(), majority.copy()
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        found = region(solve_many(counts, middle, lambda_b, threads=threads), classes_a)
        at_zero = (found == ZERO) | (found == ALL_ZERO)
        low, high = np.where(at_zero, low, middle), np.where(at_zero, middle, high)
    return dict(zip(CURVES, (minority, high, majority, largest), strict=True))


def _at_least_two(name: str, value: Any) -> int:
    number = check_limit(name, value)
    if number is None or number < 2:
        raise ValueError(f"{name} must be at least 2, got {value}")
    return number


def _axis(name: str, values: ArrayLike) -> FloatArray:
    axis = np.array(values, dtype=np.float64)
    if axis.ndim != 1 or axis.size < 2:
        raise ValueError(f"{name} must hold at least two numbers, got shape {axis.shape}")
    if not (np.isfinite(axis).all() and axis[0] > 0 and (np.diff(axis) > 0).all()):
        raise ValueError(f"{name} must be positive, finite and rising, got {values!r:.80}")
    return axis
