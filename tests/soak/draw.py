"""Random counts, weights and lambdas, from everyday to extreme."""

from __future__ import annotations

import math

import numpy as np

import ufm
from oracles.numpy_oracle import Array
from soak.check import Problem

Generator = np.random.Generator


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(10 ** rng.uniform(math.log10(low), math.log10(high)))


def draw_counts(rng: Generator, distinct: int, classes: int, ratio: float) -> Array:
    """Counts of `classes` classes with up to `distinct` values, largest over smallest `ratio`."""
    shape = rng.choice(["geometric", "uniform logarithm", "linear", "power law"])
    part = {
        "geometric": np.linspace(0.0, 1.0, distinct),
        "uniform logarithm": rng.uniform(size=distinct),
        "linear": np.log(np.linspace(1.0, ratio, distinct)) / max(math.log(ratio), 1e-300),
        "power law": np.log(np.arange(1, distinct + 1)) / math.log(max(distinct, 2)),
    }[shape]
    levels = np.clip(part, 0.0, 1.0) * math.log(ratio)
    levels = np.exp(levels) * log_uniform(rng, 1.0, 100.0)
    if rng.random() < 0.7 and ratio < 1e10:  # whole numbers, as real counts are
        levels = np.maximum(np.rint(levels), 1.0)
    counts = np.concatenate([levels, rng.choice(levels, size=max(classes - distinct, 0))])
    return rng.permutation(counts)


def draw_ratio(rng: Generator) -> float:
    return (
        1.0
        if rng.random() < 0.05
        else log_uniform(rng, 1.0 + 1e-6, 10.0 ** rng.choice([1, 3, 5, 12]))
    )


def draw_lambda_b(rng: Generator, *, zero: bool = True) -> float:
    kind = rng.random()
    if kind < 0.15:
        return math.inf
    if kind < 0.3 and zero:
        return 0.0
    if kind < 0.4:
        return log_uniform(rng, 1e-10, 1e-4)
    if kind < 0.5:
        return log_uniform(rng, 1.0, 1e6)
    return log_uniform(rng, 1e-4, 1.0)


def draw_weights(rng: Generator, counts: Array) -> Array | None:
    """Class weights: mostly none; else by count, or of a few kinds so that ties remain."""
    kind = rng.random()
    if kind < 0.6:
        return None
    if kind < 0.75:
        return counts.sum() / (counts.size * counts)
    if kind < 0.9:
        return 1.0 / np.sqrt(counts)
    return rng.choice([0.1, 0.5, 1.0, 2.0, 10.0], size=counts.size)


def draw_loss(rng: Generator, counts: Array) -> ufm.Loss:
    """One of the remedies, or a mixture of them."""
    kind = int(rng.integers(6))
    if kind == 0:
        return ufm.losses.label_smoothing(float(rng.uniform(1e-3, 0.6)))
    if kind == 1:
        return ufm.losses.logit_adjustment(counts, tau=float(rng.uniform(-1.0, 2.0)))
    if kind == 2:
        return ufm.losses.cdt(counts, gamma=float(rng.uniform(0.0, 0.5)))
    if kind == 3:
        gamma, tau = float(rng.uniform(0.0, 0.4)), float(rng.uniform(0.0, 1.5))
        return ufm.losses.vector_scaling(counts, gamma=gamma, tau=tau)
    if kind == 4:
        return ufm.losses.inverse_frequency(counts, power=float(rng.uniform(0.0, 1.0)))
    size = counts.size
    return ufm.Loss(
        smoothing=float(rng.choice([0.0, 0.1])),
        offsets=rng.choice([-1.0, 0.0, 0.7], size=size),
        scales=rng.choice([0.5, 1.0, 1.5], size=size),
        class_weights=rng.choice([0.5, 1.0, 3.0], size=size),
    )


def thresholds_of(problem: Problem) -> Array:
    """Collapse threshold of every class's cluster (theory, facts 5 and 13)."""
    factor = problem.vector("scales", 1.0) * (1.0 - problem.loss.smoothing)
    thresholds: Array = factor * problem.pi / np.sqrt(problem.counts)
    return thresholds


def draw_lambda_z(rng: Generator, problem: Problem, low: float = 1e-3, high: float = 3.0) -> float:
    """From `low` times the smallest threshold to `high` times the largest, often near one."""
    thresholds = thresholds_of(problem)
    if rng.random() < 0.25:
        return float(rng.choice(thresholds)) * float(rng.choice([0.9, 0.999, 1.0, 1.001, 1.1]))
    return log_uniform(rng, low * float(thresholds.min()), high * float(thresholds.max()))


def draw_problem(
    rng: Generator,
    distinct: int,
    classes: int,
    *,
    ratio: float | None = None,
    weighted: bool = True,
    low: float = 1e-3,
    zero_bias: bool = True,
) -> Problem:
    """A problem of plain or weighted cross-entropy."""
    counts = draw_counts(rng, distinct, classes, draw_ratio(rng) if ratio is None else ratio)
    weights = draw_weights(rng, counts) if weighted else None
    loss = ufm.Loss(class_weights=weights)
    problem = Problem(counts, 1.0, draw_lambda_b(rng, zero=zero_bias), loss)
    return Problem(counts, draw_lambda_z(rng, problem, low), problem.lambda_b, loss)
