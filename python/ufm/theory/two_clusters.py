"""Two clusters in closed form: thresholds in lambda_z and in the imbalance ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ufm._html import Shown
from ufm.problem import check_lambda_b, check_limit, check_positive, check_real
from ufm.theory._cluster_matrix import plain_number
from ufm.theory._decoupled import Decoupled
from ufm.theory.bias_only import bias_only_thresholds

_STEP = 0.8  # factor of the search downwards in the ratio
_SMALLEST = 1e-100  # lambda_z sqrt(n_B); below it ratios leave the range of doubles


def _plain(values: Any) -> dict[str, Any]:
    told = asdict(values)
    for name, value in told.items():
        if isinstance(value, float):
            told[name] = plain_number(value)
    return told


@dataclass(frozen=True, repr=False)
class TwoClusterThresholds(Shown):
    """Thresholds in lambda_z of k_A classes of n_A and k_B classes of n_B samples.

    Attributes
    ----------
    sizes, counts : tuple
        (k_A, k_B) and (n_A, n_B); A is the majority.
    lambda_b : float
        Weight of the bias penalty.
    ratio : float
        r = n_A / n_B.
    minority_collapse, majority_collapse : float
        sqrt(n_B) / N and sqrt(n_A) / N: at and above them the classes of the cluster share one
        mean prediction; NaN for a single class.
    bias_only : float
        lambda_c: at and above it the minority's mean predictions are zero.
    lambda_max : float
        Z = 0 at and above it.
    """

    sizes: tuple[int, int]
    counts: tuple[float, float]
    lambda_b: float
    ratio: float
    minority_collapse: float
    majority_collapse: float
    bias_only: float
    lambda_max: float

    def summary(self) -> str:
        """The thresholds as a few lines of text."""
        (k_a, k_b), (n_a, n_b) = self.sizes, self.counts
        return "\n".join(
            [
                f"{k_a} classes of {n_a:.10g}, {k_b} of {n_b:.10g}, lambda_b = {self.lambda_b:.6g}",
                f"minority merges        lambda_z >= {self.minority_collapse:.8g}",
                f"bias alone predicts it lambda_z >= {self.bias_only:.8g}",
                f"majority merges        lambda_z >= {self.majority_collapse:.8g}",
                f"Z = 0                  lambda_z >= {self.lambda_max:.8g}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return _plain(self)


def two_cluster_thresholds(
    sizes: Sequence[int], counts: Sequence[float], lambda_b: float
) -> TwoClusterThresholds:
    """All thresholds in lambda_z of a majority and a minority cluster.

    The collapse thresholds are those of Hong and Ling, arXiv 2309.09725; ``bias_only`` (derived)
    takes root finding in one number, see :func:`ufm.bias_only_thresholds`.

    Parameters
    ----------
    sizes : (int, int)
        Classes of the majority and of the minority, k_A and k_B.
    counts : (float, float)
        Samples per class, n_A > n_B.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.

    Returns
    -------
    TwoClusterThresholds

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> found = ufm.two_cluster_thresholds((5, 5), (500, 100), lambda_b=0.02)
    >>> round(found.minority_collapse, 6), round(found.bias_only, 6), round(found.lambda_max, 6)
    (0.003333, 0.003983, 0.007454)
    """
    k_a, k_b = _sizes(sizes)
    n_a, n_b = (check_positive("counts", n) for n in _pair("counts", counts))
    if n_a <= n_b:
        raise ValueError(f"counts must name the majority first, got {n_a:.10g} and {n_b:.10g}")
    found = bias_only_thresholds(np.repeat([n_a, n_b], [k_a, k_b]), lambda_b)
    majority, minority = found.clusters
    return TwoClusterThresholds(
        sizes=(k_a, k_b),
        counts=(n_a, n_b),
        lambda_b=found.lambda_b,
        ratio=n_a / n_b,
        minority_collapse=minority.collapse,
        majority_collapse=majority.collapse,
        bias_only=minority.bias_only,
        lambda_max=found.lambda_max,
    )


@dataclass(frozen=True, repr=False)
class CriticalRatios(Shown):
    """Imbalance ratios r = n_A / n_B at which two clusters change, at fixed lambda_z and n_B.

    Attributes
    ----------
    sizes : (int, int)
        k_A and k_B.
    minority_count, lambda_z, lambda_b : float
        n_B and the weights of the nuclear norm and the bias penalty.
    minority_collapse : float
        r*: the classes of the minority share one mean prediction iff r >= r*; NaN for a single
        class. Values below 1 mean that they do at any imbalance.
    majority_count : float
        n_A* = r* n_B.
    majority_separate : (float, float)
        The classes of the majority differ iff r lies strictly between these two; NaN where they
        do for no r, or for a single class.
    bias_only : float
        From here on (1 or more) the minority's mean predictions are zero.
    """

    sizes: tuple[int, int]
    minority_count: float
    lambda_z: float
    lambda_b: float
    minority_collapse: float
    majority_count: float
    majority_separate: tuple[float, float]
    bias_only: float

    def summary(self) -> str:
        """The ratios as a few lines of text."""
        low, high = self.majority_separate
        return "\n".join(
            [
                f"{self.sizes[0]} and {self.sizes[1]} classes, minority of "
                f"{self.minority_count:.10g}, lambda_z = {self.lambda_z:.6g}, "
                f"lambda_b = {self.lambda_b:.6g}",
                f"minority merges        r >= {self.minority_collapse:.8g}",
                f"bias alone predicts it r >= {self.bias_only:.8g}",
                f"majority merges        r <= {low:.8g} or r >= {high:.8g}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        told = _plain(self)
        told["majority_separate"] = [plain_number(r) for r in self.majority_separate]
        return told


def critical_ratios(
    sizes: Sequence[int], minority_count: float, lambda_z: float, lambda_b: float
) -> CriticalRatios:
    """Imbalance ratios at which a minority cluster collapses, at fixed lambda_z.

    With g = 1 / (lambda_z sqrt(n_B)), the minority collapses iff r >= r* = (g - k_B) / k_A (Hong
    and Ling, arXiv 2309.09725), and the majority iff k_A r - g sqrt(r) + k_B >= 0 (from the same
    threshold). The ratio from which the bias alone predicts the minority (derived) is found by
    root finding.

    Parameters
    ----------
    sizes : (int, int)
        Classes of the majority and of the minority, k_A and k_B.
    minority_count : float
        Samples per class of the minority, n_B.
    lambda_z : float
        Weight of the nuclear norm.
    lambda_b : float
        Weight of the bias penalty; 0 for an unregularised bias, infinity for no bias.

    Returns
    -------
    CriticalRatios

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> found = ufm.critical_ratios((5, 5), minority_count=100, lambda_z=0.005, lambda_b=0.02)
    >>> found.minority_collapse, found.majority_count
    (3.0, 300.0)
    """
    k_a, k_b = _sizes(sizes)
    n_b = check_positive("minority_count", minority_count)
    lambda_z = check_positive("lambda_z", lambda_z)
    lambda_b = check_lambda_b(lambda_b)
    if lambda_z * math.sqrt(n_b) < _SMALLEST:
        raise ValueError(
            f"lambda_z * sqrt(minority_count) must be at least {_SMALLEST}, got "
            f"{lambda_z:.6g} * sqrt({n_b:.6g})"
        )
    g = 1 / (lambda_z * math.sqrt(n_b))
    star = max((g - k_b) / k_a, 0.0)
    separate = (math.nan, math.nan)
    if k_a > 1 and g * g > 4 * k_a * k_b:
        high = ((g + math.sqrt(g * g - 4 * k_a * k_b)) / (2 * k_a)) ** 2
        separate = ((k_b / k_a) ** 2 / high, high)
    coupled = _last_coupled_ratio((k_a, k_b), n_b, lambda_z, lambda_b)
    return CriticalRatios(
        sizes=(k_a, k_b),
        minority_count=n_b,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        minority_collapse=star if k_b > 1 else math.nan,
        majority_count=star * n_b if k_b > 1 else math.nan,
        majority_separate=separate,
        bias_only=max(coupled, star, 1.0) if k_b > 1 else max(coupled, 1.0),
    )


def _last_coupled_ratio(
    sizes: tuple[int, int], n_b: float, lambda_z: float, lambda_b: float
) -> float:
    """Ratio above which the clusters exert no logits on each other, or 1."""
    from scipy.optimize import brentq

    k = np.array(sizes, dtype=np.float64)
    bias = np.zeros(2)

    def excess(log_ratio: float) -> float:
        nonlocal bias
        n = np.array([math.exp(log_ratio) * n_b, n_b])
        weight = n / (k @ n)
        problem = Decoupled(k, weight, weight / np.sqrt(n), lambda_b)
        norm, bias = problem.coupling_norm(lambda_z, bias)
        return math.log(norm) - math.log(lambda_z)

    # ||(I - p 1^T) D^(1/2)||_2 / N is below sqrt(2 / N): beyond that N even Z is zero.
    high = math.log(max((2 / (lambda_z**2 * n_b) - k[1]) / k[0], 1.0))
    while high > 0:
        low = max(high + math.log(_STEP), 0.0)
        if excess(low) > 0:
            return float(math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))
        high = low
    return 1.0


@dataclass(frozen=True, repr=False)
class ImbalanceLimit(Shown):
    """What happens as r -> infinity at fixed n_B when lambda_z = c / N^p.

    Attributes
    ----------
    sizes : (int, int)
        k_A and k_B.
    minority_count, coefficient, exponent : float
        n_B, c and p.
    minority_collapses : bool or None
        Whether the minority is collapsed for all large r; None for a single class.
    majority_collapses : bool or None
        Whether the majority is (then Z = 0); None for a single class.
    minority_turns_at : float
        Ratio at which the minority takes that state; NaN where it has it at every r.
    """

    sizes: tuple[int, int]
    minority_count: float
    coefficient: float
    exponent: float
    minority_collapses: bool | None
    majority_collapses: bool | None
    minority_turns_at: float

    def summary(self) -> str:
        """The limit in two lines of text."""
        words = {True: "collapsed", False: "not collapsed", None: "a single class"}
        return (
            f"lambda_z = {self.coefficient:.6g} / N^{self.exponent:.6g}, r -> infinity:\n"
            f"minority {words[self.minority_collapses]}, majority {words[self.majority_collapses]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return _plain(self)


def imbalance_limit(
    sizes: Sequence[int], minority_count: float, coefficient: float, exponent: float
) -> ImbalanceLimit:
    """Which of two clusters collapse as r = n_A / n_B -> infinity with lambda_z = c / N^p.

    The minority collapses iff lambda_z N >= sqrt(n_B) (Hong and Ling, arXiv 2309.09725): for all
    large r where p < 1, for no large r where p > 1, and for p = 1 iff c >= sqrt(n_B), whatever r
    is. The majority collapses iff lambda_z N >= sqrt(n_A): for all large r where p < 1/2, or
    p = 1/2 and c^2 k_A >= 1. A fixed lambda_z is p = 0: everything collapses.

    Parameters
    ----------
    sizes : (int, int)
        Classes of the majority and of the minority, k_A and k_B.
    minority_count : float
        Samples per class of the minority, n_B, held fixed.
    coefficient : float
        c.
    exponent : float
        p, finite; 0 for a fixed lambda_z.

    Returns
    -------
    ImbalanceLimit

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> limit = ufm.imbalance_limit((5, 5), minority_count=100, coefficient=11.0, exponent=1.0)
    >>> limit.minority_collapses, limit.majority_collapses
    (True, False)
    """
    k_a, k_b = _sizes(sizes)
    n_b = check_positive("minority_count", minority_count)
    c = check_positive("coefficient", coefficient)
    p = check_real("exponent", exponent)
    if not math.isfinite(p):
        raise ValueError(f"exponent must be finite, got {p}")
    minority = p < 1 or (p == 1 and c >= math.sqrt(n_b))
    majority = p < 0.5 or (p == 0.5 and c * c * k_a >= 1)
    turns_at = math.nan
    if p != 1:
        # c N^(1 - p) = sqrt(n_B), in logarithms against overflow.
        log_n = (0.5 * math.log(n_b) - math.log(c)) / (1 - p)
        log_r = log_n - math.log(n_b * k_a)
        turns_at = math.inf if log_r > 700 else math.exp(log_r) - k_b / k_a
    return ImbalanceLimit(
        sizes=(k_a, k_b),
        minority_count=n_b,
        coefficient=c,
        exponent=p,
        minority_collapses=minority if k_b > 1 else None,
        majority_collapses=majority if k_a > 1 else None,
        minority_turns_at=turns_at if k_b > 1 and turns_at > 0 else math.nan,
    )


def _pair(name: str, values: Any) -> tuple[Any, Any]:
    try:
        first, second = values
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must have two entries, majority and minority, got {values!r:.80}"
        ) from None
    return first, second


def _sizes(sizes: Sequence[int]) -> tuple[int, int]:
    k_a, k_b = (check_limit("sizes", k) for k in _pair("sizes", sizes))
    if k_a is None or k_b is None:
        raise TypeError(f"sizes must be two positive integers, got {sizes!r:.80}")
    return k_a, k_b
