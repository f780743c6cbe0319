"""Which classes of a training run will merge, and what prevents it: :func:`advise`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm.planning._checks import Checker
from ufm.planning._margin_search import MarginSearch
from ufm.planning._oversampling import Tail
from ufm.planning._penalties import Penalties, check_penalties
from ufm.planning._separation import Separation, separation
from ufm.planning._weights import largest_normalised, normalised_weights, plain_weights
from ufm.planning.advice import Advice, ClassWeights, ClusterAdvice, Oversampling
from ufm.planning.positive_margin import FEATURES, TARGETS
from ufm.problem import (
    FloatArray,
    check_choice,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
    check_real,
)
from ufm.solution import BoolArray, Solution
from ufm.theory.thresholds import thresholds

PROTECT = ("tied", "all")

BIAS_ONLY = 1e-3
"""Norm of z_k up to which a class counts as predicted by the bias alone: its features then change
no probability by more than a thousandth."""


def advise(
    counts: ArrayLike,
    *,
    lambda_b: float,
    lambda_z: float | None = None,
    weight_decay: float | None = None,
    feature_decay: float | None = None,
    feature_penalty: str = "sum",
    margin: float = 0.05,
    protect: str = "tied",
    target: str = "apart",
    features: str = "free",
    logit_margin: float = 0.0,
    names: Sequence[str] | None = None,
    tol: float = 1e-5,
    cluster_checks: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, str], Any] | None = None,
) -> Advice:
    """Which classes merge at these penalties, by how much, and the least that prevents it.

    Two or more classes of n samples merge, that is, share one mean prediction, if and only if
    lambda_z >= sqrt(n) / N (Hong and Ling, arXiv 2309.09725). From this follow, in closed form
    (derived), the smallest oversampling, the smallest class weights and the largest lambda_z that
    keep classes apart. Each recommendation is confirmed by solving the changed problem.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    lambda_b : float
        Weight of the bias penalty (lambda_b / 2) ||b||^2; 0 for an unregularised bias, infinity for
        no bias. A bias under the same weight decay as the weights has lambda_b = weight_decay.
    lambda_z : float, optional
        sqrt(lambda_W lambda_H). Either this or both decays must be given.
    weight_decay : float, optional
        lambda_W, where the classifier's penalty is (lambda_W / 2) ||W||^2: what
        ``torch.optim.SGD(weight_decay=...)`` does, whose gradient is weight_decay * W.
    feature_decay : float, optional
        Weight c of the penalty on the features, see `feature_penalty`.
    feature_penalty : {"sum", "mean"}
        "sum": (c / 2) times the sum of ||h||^2 over all samples, so that lambda_H = c. "mean":
        (c / 2) times the mean of ||h||^2 over the samples of a batch, so that lambda_H = c / N.
        The two differ in what oversampling does: with "mean" lambda_H falls as samples are added.
    margin : float
        Recommendations keep lambda_z below the threshold by this part: threshold >=
        (1 + margin) lambda_z; positive.
    protect : {"tied", "all"}
        Which classes to keep apart: those that can merge, since others have just as many samples;
        or all, as if every size were shared by several classes.
    target : {"apart", "positive_margin"}
        "positive_margin" asks beside this for the least changes after which every class wins its
        own training samples: own logit with bias above the largest other one. Being apart is
        necessary for that, not enough. Found by a few dozen solves, not by a formula.
    features : {"free", "nonnegative"}
        Which theory the margins are of: features free to be negative, or after a ReLU. All other
        statements are about free features.
    logit_margin : float
        By how much the own logit must exceed the others for "positive_margin"; 0 or more. Just
        above 0 is enough for training samples at the optimum, test samples need more.
    names : sequence of str, optional
        Names of the classes for the reports, K of them.
    tol : float
        Relative duality gap of the solves. Which classes merge does not hinge on it; the index of
        classes alone in their size is the more accurate the smaller it is.
    cluster_checks : int, optional
        At most so many of the factors for single sizes (``factor_alone``) are confirmed by a solve,
        spread over the sizes; by default all with up to 128 different counts, 8 with up to 2000, 1
        beyond. Joint recommendations are always confirmed.
    threads : int, optional
        Limit on the threads of each solve.
    progress : callable, optional
        Called as ``progress(done, total, name)`` before each solve.

    Returns
    -------
    Advice

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.

    Notes
    -----
    A repeated sample has the feature of the sample it repeats, and both its loss and its feature
    penalty count as often as it is seen: oversampling class k by w is the model with w n_k samples.
    Free features cannot tell real from repeated samples; a network can.

    Examples
    --------
    >>> import ufm
    >>> advice = ufm.advise([500] * 5 + [100] * 5, lambda_z=0.0035, lambda_b=0.02)
    >>> int(advice.merged.sum()), advice.oversampling.level, advice.oversampling.added
    (5, 138.0, 190.0)
    >>> advice.confirmed
    True
    >>> advice = ufm.advise([100] * 5 + [20] * 5, lambda_z=0.0089, lambda_b=0.02,
    ...                     target="positive_margin")
    >>> advice.oversampling.level, advice.positive_margin.oversampling.value
    (48.0, 43.0)
    """
    counts = check_counts(counts)
    lambda_b = check_lambda_b(lambda_b)
    penalties = check_penalties(
        lambda_z, weight_decay, feature_decay, feature_penalty, float(counts.sum())
    )
    margin = check_positive("margin", margin)
    protect = check_choice("protect", protect, PROTECT)
    target = check_choice("target", target, TARGETS)
    features = check_choice("features", features, FEATURES)
    if target == "apart" and features != "free":
        raise ValueError(
            f"features={features!r} needs target='positive_margin': what keeps classes apart is "
            "stated for free features only"
        )
    logit_margin = _check_logit_margin(logit_margin, target)
    labels = _check_names(names, counts.size)
    tol = check_positive("tol", tol)
    limit = _check_number("cluster_checks", cluster_checks)
    threads = check_limit("threads", threads)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None, got {progress!r:.80}")

    protected = _protected(counts, protect)
    oversampling = _oversampling(counts, protected, penalties, margin)
    weights = _weights(counts, protected, penalties, margin)
    largest = _largest_lambda(counts, protected, margin)

    checker = Checker(counts, protected, penalties, lambda_b, tol, threads, progress)
    checker.plan(largest, oversampling, weights, margin)
    alone = _alone_plans(counts, protected, penalties, margin)
    unchecked = checker.plan_alone(alone, limit)
    solution = checker.run()
    lambda_max = thresholds(counts, lambda_b).lambda_max
    found = None
    if target == "positive_margin":
        search = MarginSearch(
            counts,
            penalties,
            lambda_b=lambda_b,
            lambda_max=lambda_max,
            features=features,
            least=logit_margin,
            tol=tol,
            threads=threads,
            progress=progress,
        )
        found = search.run()
        checker.checks += search.checks
    return Advice(
        counts=counts,
        names=labels,
        penalties=penalties,
        lambda_b=lambda_b,
        margin=margin,
        protect=protect,
        clusters=_clusters(solution, protected, penalties, oversampling, weights, alone),
        lambda_max=lambda_max,
        largest_lambda_z=largest,
        largest_weight_decay=None if math.isinf(largest) else penalties.weight_decay_for(largest),
        oversampling=oversampling,
        weights=weights,
        checks=checker.checks,
        unchecked=unchecked,
        solution=solution,
        positive_margin=found,
    )


# ---------------------------------------------------------------------- arguments


def _check_names(names: Sequence[str] | None, size: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"names must be a sequence of strings, got the string {names!r:.80}")
    labels = tuple(names)
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(f"names must hold strings, got {label!r:.80} at index {index}")
    if len(labels) != size:
        raise ValueError(f"names must have one entry per class, {size}, got {len(labels)}")
    return labels


def _check_logit_margin(value: Any, target: str) -> float:
    number = check_real("logit_margin", value)
    if not 0 <= number < math.inf:
        raise ValueError(f"logit_margin must be finite and not negative, got {number}")
    if number and target == "apart":
        raise ValueError(f"logit_margin={number} needs target='positive_margin'")
    return number


def _check_number(name: str, value: Any) -> int | None:
    """A limit that may also be zero."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value == 0:
        return 0
    return check_limit(name, value)


def _protected(counts: FloatArray, protect: str) -> BoolArray:
    if protect == "all":
        return np.ones(counts.size, dtype=bool)
    _, inverse, sizes = np.unique(counts, return_inverse=True, return_counts=True)
    tied: BoolArray = (sizes > 1)[inverse]
    return tied


# ---------------------------------------------------------------------- recommendations


def _target(penalties: Penalties, margin: float) -> float:
    """Smallest threshold that is safe, as of N samples."""
    return penalties.lambda_z * (1 + margin)


def _largest_lambda(counts: FloatArray, protected: BoolArray, margin: float) -> float:
    if not protected.any():
        return math.inf
    return math.sqrt(float(counts[protected].min())) / float(counts.sum()) / (1 + margin)


def _tail(counts: FloatArray, protected: BoolArray, penalties: Penalties) -> Tail:
    return Tail(
        counts[protected],
        float(counts.sum()),
        per_sample=penalties.feature_penalty == "mean",
        whole=bool((counts == np.round(counts)).all()),
    )


def _oversampling(
    counts: FloatArray, protected: BoolArray, penalties: Penalties, margin: float
) -> Oversampling:
    if not protected.any():
        return Oversampling(False, True, None, counts.copy(), 0.0, math.inf, None, None, None)
    tail = _tail(counts, protected, penalties)
    level = tail.smallest_level(_target(penalties, margin))
    needed = level is None or level > float(counts[protected].min())
    best_level = tail.peak if math.isfinite(tail.peak) else float(counts.max())
    samples = None if level is None else _raised(counts, protected, level)
    return Oversampling(
        needed=needed,
        feasible=level is not None,
        level=level,
        samples=samples,
        added=None if samples is None else float((samples - counts).sum()),
        limit_lambda_z=tail.largest_reach / (1 + margin),
        best_level=best_level,
        best_samples=_raised(counts, protected, best_level),
        best_lambda_z=tail.reach(best_level) / (1 + margin),
    )


def _raised(counts: FloatArray, protected: BoolArray, level: float) -> FloatArray:
    return np.where(protected, np.maximum(counts, level), counts)


def _weights(
    counts: FloatArray, protected: BoolArray, penalties: Penalties, margin: float
) -> ClassWeights:
    target = _target(penalties, margin)
    plain = plain_weights(counts, protected, target)
    if not protected.any():
        return ClassWeights(False, plain, plain.copy(), math.inf)
    return ClassWeights(
        needed=bool((plain > 1).any()),
        plain=plain,
        normalised=normalised_weights(counts, protected, target),
        limit_lambda_z=largest_normalised(counts, protected) / (1 + margin),
    )


def _alone_plans(
    counts: FloatArray, protected: BoolArray, penalties: Penalties, margin: float
) -> dict[float, float | None]:
    """For each protected size, the samples that keep its classes apart, the others as they are."""
    if not protected.any():
        return {}
    tail = _tail(counts, protected, penalties)
    target = _target(penalties, margin)
    values, sizes = np.unique(counts, return_counts=True)
    allowed = set(counts[protected].tolist())
    return {
        count: tail.smallest_alone(count, classes, target)
        for count, classes in zip(values.tolist(), sizes.tolist(), strict=True)
        if count in allowed
    }


# ---------------------------------------------------------------------- assembly


def _clusters(
    solution: Solution,
    protected: BoolArray,
    penalties: Penalties,
    oversampling: Oversampling,
    weights: ClassWeights,
    alone: dict[float, float | None],
) -> list[ClusterAdvice]:
    apart: Separation = separation(solution)
    total = float(solution.counts.sum())
    tied = np.sort(solution.cluster_count[solution.multiplicity > 1])
    sizes = solution.multiplicity[solution.multiplicity > 1][::-1]
    classes_up_to = np.concatenate([[0], np.cumsum(sizes)])  # tied classes by rising count
    result = []
    for i, cluster in enumerate(solution.clusters):
        n, k, first = cluster.count, cluster.multiplicity, int(cluster.indices[0])
        threshold = math.sqrt(n) / total
        level = alone.get(n)
        also = 0
        if level is not None and level > n:
            grown = total + k * (level - n)
            bounds = [(penalties.at(size) * size) ** 2 for size in (total, grown)]
            before, after = (classes_up_to[np.searchsorted(tied, b, side="right")] for b in bounds)
            also = int(after - before) - (k if k > 1 and bounds[0] < n <= bounds[1] else 0)
        neighbour = int(apart.neighbour[i])
        result.append(
            ClusterAdvice(
                count=n,
                multiplicity=k,
                classes=cluster.indices,
                threshold=threshold,
                ratio=solution.lambda_z / threshold,
                merged=cluster.collapsed,
                protected=bool(protected[first]),
                soft_collapse=float(apart.index[i]),
                neighbour_count=float(solution.cluster_count[neighbour])
                if neighbour >= 0
                else math.nan,
                own_probability=float(apart.own_probability[i]),
                prediction_norm=float(apart.norm[i]),
                bias_only=bool(apart.norm[i] <= BIAS_ONLY),
                bias=cluster.bias,
                factor_alone=None if level is None else level / n,
                samples_alone=level,
                added_alone=None if level is None else k * (level - n),
                also_merge=also,
                factor=_at(oversampling.samples, first, 1 / n),
                plain_weight=_at(weights.plain, first),
                normalised_weight=_at(weights.normalised, first),
            )
        )
    return result


def _at(values: FloatArray | None, index: int, scale: float = 1.0) -> float | None:
    return None if values is None else float(values[index]) * scale
