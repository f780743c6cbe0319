"""Where classes merge when features are nonnegative: :func:`nonnegative_thresholds`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._html import Shown
from ufm.problem import FloatArray, check_class_weights, check_counts, check_lambda_b
from ufm.solution import Status
from ufm.theory._nonnegative_atoms import AtomProblem
from ufm.theory._nonnegative_certificate import is_feasible
from ufm.theory._nonnegative_loss import ClusterLoss, LossPoint
from ufm.theory._nonnegative_solve import solve, start

_RELATIVE_ACCURACY = 1e-7


@dataclass(frozen=True)
class NonnegativeThreshold:
    """Collapse threshold of the classes with one count and weight, features nonnegative.

    Attributes
    ----------
    count, class_weight, multiplicity
        The cluster.
    collapse : float
        The lambda_z at which its classes come to share one mean prediction; NaN for one class.
    free : float
        The threshold with features of any sign (:func:`ufm.thresholds`), never smaller; NaN for
        one class.
    vanishes : bool
        Whether they collapse because their features vanish, z_k = 0, before ``free`` is reached.
        Otherwise they merge at a common vector, at ``free`` exactly.
    """

    count: float
    class_weight: float
    multiplicity: int
    collapse: float
    free: float
    vanishes: bool


@dataclass(frozen=True, repr=False)
class NonnegativeThresholds(Shown):
    """Collapse thresholds in lambda_z of a problem with nonnegative features.

    Attributes
    ----------
    clusters : list of NonnegativeThreshold
        In order of falling count.
    lambda_b : float
        The weight of the bias penalty that they hold for.
    num_samples : float
        N.
    """

    clusters: list[NonnegativeThreshold]
    lambda_b: float
    num_samples: float

    def summary(self) -> str:
        """The thresholds as a few lines of text."""
        lines = [
            f"Nonnegative features, lambda_b = {self.lambda_b:.8g}",
            f"{'count':>12} {'classes':>8} {'collapse at lambda_z':>21} {'of any sign':>14} "
            f"{'how':>9}",
        ]
        for cluster in self.clusters:
            alone = cluster.multiplicity == 1
            at, free = (
                "-" if alone else f"{value:.8g}" for value in (cluster.collapse, cluster.free)
            )
            how = "single" if alone else "vanish" if cluster.vanishes else "merge"
            lines.append(
                f"{cluster.count:>12.10g} {cluster.multiplicity:>8} {at:>21} {free:>14} {how:>9}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The thresholds as plain Python values; NaN thresholds become None."""
        clusters = [asdict(cluster) for cluster in self.clusters]
        for cluster in clusters:
            if cluster["multiplicity"] == 1:
                cluster["collapse"] = cluster["free"] = None
        return {
            "lambda_b": self.lambda_b,
            "num_samples": self.num_samples,
            "clusters": clusters,
        }


def nonnegative_thresholds(
    counts: ArrayLike, lambda_b: float, class_weights: ArrayLike | None = None
) -> NonnegativeThresholds:
    """Collapse thresholds of every cluster when features are nonnegative.

    With features of any sign the classes of a cluster of at least two collapse if and only if
    lambda_z >= free = w sqrt(n) / N. With nonnegative ones they also do so at and above ``free``,
    and below it if and only if their features vanish (derived). So the threshold is ``free`` or the
    lambda_z at which z_k of the cluster becomes zero, whichever is smaller.

    Without bias the second is free sqrt((K - 1) / K). With a bias, features of a cluster can only
    vanish if lambda_z >= free sqrt(1 - 2 p_k + ||p||^2), p the prediction of the bias there; this
    equation is solved with the certified optimum of the problem in which the cluster's features are
    held at zero, and checked against features that the cluster shares with others.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.
    class_weights : array_like of shape (K,), optional
        Loss weight per class.

    Returns
    -------
    NonnegativeThresholds
        With a bias to a relative accuracy of about 1e-6.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    ArithmeticError
        If a problem on the way could not be solved to the accuracy that is needed.

    Notes
    -----
    For the equation in lambda_z to have one solution is not proved; the one found is where features
    vanish just above and do not just below. It holds for any cluster, also for the largest, with
    every other cluster where it is at that lambda_z.

    Examples
    --------
    >>> import ufm
    >>> found = ufm.nonnegative_thresholds([500] * 5 + [100] * 5, lambda_b=0.02)
    >>> [(round(c.collapse, 6), round(c.free, 6), c.vanishes) for c in found.clusters]
    [(0.006753, 0.007454, True), (0.003294, 0.003333, True)]
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    lambda_b = check_lambda_b(lambda_b)
    core_weights = np.empty(0) if weights is None else weights
    _, count, weight, size = _core.group(counts, core_weights)
    total = float(counts.sum())
    clusters = []
    for i in range(count.size):
        free, collapse = float(weight[i]) / math.sqrt(float(count[i])), math.nan
        if size[i] > 1:
            if lambda_b == math.inf:
                collapse = free * math.sqrt((counts.size - 1) / counts.size)
            else:
                collapse = _Vanishing(count, weight, size, lambda_b, i).threshold()
        clusters.append(
            NonnegativeThreshold(
                count=float(count[i]),
                class_weight=float(weight[i]) * total / float(count[i]),
                multiplicity=int(size[i]),
                collapse=collapse,
                free=free if size[i] > 1 else math.nan,
                vanishes=collapse < free,
            )
        )
    return NonnegativeThresholds(clusters, lambda_b, total)


class _Vanishing:
    """When the features of cluster i vanish, relative to its free threshold."""

    def __init__(
        self, count: FloatArray, weight: FloatArray, size: FloatArray, lambda_b: float, i: int
    ) -> None:
        self.loss = ClusterLoss(size, np.sqrt(count / count.max()), weight)
        self.lambda_b, self.i = lambda_b, i
        self.free = float(weight[i]) / math.sqrt(float(count[i]))

    def threshold(self) -> float:
        # A class of several alike has p <= 1/2, which makes the root at least 1/2.
        if self._excess(1.0) >= 0:
            return self.free
        from scipy.optimize import brentq

        alone = float(brentq(self._excess, 0.4, 1.0, xtol=1e-11, rtol=1e-11))
        if self._vanishes(alone * (1 + _RELATIVE_ACCURACY)):
            return alone * self.free
        # Features shared with other clusters keep it alive for longer.
        low, high = alone, 1.0
        if not self._vanishes(high):
            return self.free
        while high - low > _RELATIVE_ACCURACY * high:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._vanishes(middle) else (middle, high)
        return high * self.free

    def _held(self, ratio: float) -> tuple[AtomProblem, LossPoint]:
        """The optimum with this cluster's features zero, at lambda = ratio * free."""
        everything = np.ones(self.loss.size.size, dtype=bool)
        lambda_x = ratio * float(self.loss.alone[self.i])
        problem = AtomProblem(self.loss, lambda_x, self.lambda_b, everything)
        others = AtomProblem(
            self.loss, lambda_x, self.lambda_b, np.arange(everything.size) != self.i
        )
        outcome = solve(others, start(others), tol=1e-8, max_iterations=None, time_limit=math.inf)
        if outcome.status is not Status.CONVERGED:
            raise ArithmeticError(
                f"the problem without features of cluster {self.i} was solved to a relative gap of "
                f"{outcome.certificate.relative_gap:.1e} only"
            )
        M, alpha = others.blocks(outcome.atoms)
        return problem, self.loss.at(M, alpha, outcome.atoms.b)

    def _excess(self, ratio: float) -> float:
        """|G e_k| - lambda over free, for a class of the cluster: sqrt(1 - 2 p_k + |p|^2) - ratio.

        p is the prediction of the bias, the column of a class with no features.
        """
        _, point = self._held(ratio)
        others = self.loss.size.copy()
        others[self.i] -= 1.0
        square = float((point.mass[:, self.i] ** 2 / np.maximum(others, 1.0)).sum())
        return math.sqrt(float(point.wrong[self.i]) ** 2 + square) - ratio

    def _vanishes(self, ratio: float) -> bool:
        problem, point = self._held(ratio)
        return is_feasible(problem, point, _RELATIVE_ACCURACY)
