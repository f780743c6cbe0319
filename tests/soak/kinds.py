"""The kinds of problems, each a function from a random generator to checked results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import ufm
from oracles import nonnegative_oracle, numpy_oracle
from oracles.blockwise_oracle import Oracle
from soak.check import ROUNDING, Problem, Result, check_solution, clusters_of, noise_of
from soak.draw import (
    Generator,
    draw_counts,
    draw_lambda_b,
    draw_lambda_z,
    draw_loss,
    draw_problem,
    log_uniform,
    thresholds_of,
)

METHODS = ("auto", "factored", "proximal", "continuum")
TOLERANCES = (1e-3, 1e-6, 1e-6, 1e-6, 1e-8, 1e-10)


@dataclass(frozen=True)
class Kind:
    """A kind of problem and the share of the time that it gets."""

    run: Callable[[Generator], Iterator[Result]]
    share: float
    about: str


def _solve(
    kind: str, rng: Generator, problem: Problem, *, seconds: float, **options: Any
) -> Result:
    """Solve under a random mixture of limits and check."""
    allowed = {"TIME_LIMIT"}
    options.setdefault("tol", float(rng.choice(TOLERANCES)))
    options["time_limit"] = seconds if rng.random() < 0.9 else log_uniform(rng, 1e-4, seconds)
    if rng.random() < 0.1:
        options["max_iterations"] = int(rng.integers(1, 30))
    if rng.random() < 0.1:
        options["threads"] = int(rng.integers(1, 3))
    if rng.random() < 0.1:
        calls: list[float] = []
        options["progress"] = lambda *report: calls.append(report[1]) or len(calls) > 3
        allowed.add("INTERRUPTED")
    solution = ufm.solve(
        problem.counts, problem.lambda_z, problem.lambda_b, loss=problem.loss, **options
    )
    return check_solution(kind, problem, solution, allowed=frozenset(allowed))


def tiny(rng: Generator) -> Iterator[Result]:
    """Up to 12 classes, anything goes."""
    classes = int(rng.integers(1, 13))
    problem = draw_problem(rng, int(rng.integers(1, classes + 1)), classes, low=1e-6)
    method = str(rng.choice(METHODS))
    yield _solve("tiny", rng, problem, seconds=2.0, method=method)


def small(rng: Generator) -> Iterator[Result]:
    """Up to 60 different counts: the linear algebra of Eigen."""
    distinct = int(rng.integers(3, 61))
    problem = draw_problem(rng, distinct, distinct + int(rng.integers(0, 100)))
    method = str(rng.choice(METHODS))
    yield _solve("small", rng, problem, seconds=3.0, method=method)


def medium(rng: Generator) -> Iterator[Result]:
    """48 to 400 different counts: LAPACK, and nodes from 128 on."""
    distinct = int(log_uniform(rng, 48, 400))
    problem = draw_problem(rng, distinct, distinct + int(rng.integers(0, 300)))
    method = str(rng.choice(METHODS, p=[0.4, 0.2, 0.1, 0.3]))
    yield _solve("medium", rng, problem, seconds=8.0, method=method)


def grouped(rng: Generator) -> Iterator[Result]:
    """A thousand to a million classes of few sizes."""
    distinct = int(rng.integers(1, 41))
    classes = int(log_uniform(rng, 1e3, 1e6))
    problem = draw_problem(rng, distinct, classes, weighted=rng.random() < 0.3)
    if np.unique(problem.counts).size * 5 < np.unique(problem.weights * 1e9 + problem.counts).size:
        return  # independent weights would undo the grouping
    yield _solve("grouped", rng, problem, seconds=5.0)


def many_sizes(rng: Generator) -> Iterator[Result]:
    """400 to 20,000 different counts by the continuum method."""
    distinct = int(log_uniform(rng, 400, 20_000 if rng.random() < 0.15 else 2_000))
    classes = distinct if rng.random() < 0.5 else int(distinct * rng.uniform(1.0, 20.0))
    problem = draw_problem(
        rng,
        distinct,
        classes,
        ratio=log_uniform(rng, 3.0, 1e6),
        weighted=rng.random() < 0.1,
        low=1e-2,
        zero_bias=False,
    )
    if 0 < problem.lambda_b < 1e-6:
        problem = Problem(problem.counts, problem.lambda_z, 1e-3, problem.loss)
    tol = float(rng.choice([1e-4, 1e-6] if distinct > 1200 else [1e-4, 1e-6, 1e-8]))
    yield _solve("many sizes", rng, problem, seconds=60.0, tol=tol)


def narrow(rng: Generator) -> Iterator[Result]:
    """Hundreds of counts that hardly differ, lambda_z at or just above the threshold of one."""
    distinct = int(log_uniform(rng, 130, 700))
    spread = log_uniform(rng, 1e-5, 1.0)
    counts = log_uniform(rng, 10.0, 1e5) * np.linspace(1.0, 1.0 + spread, distinct)
    if rng.random() < 0.3:
        counts = np.repeat(counts, rng.integers(1, 4, distinct))
    problem = Problem(counts, 1.0, draw_lambda_b(rng), ufm.Loss())
    threshold = np.quantile(thresholds_of(problem), rng.choice([0.0, 0.0, 0.1, 0.5]))
    above = rng.choice([0.0, 1e-6, 1e-4, 1e-3, 1e-2, -1e-2])
    problem = Problem(counts, float(threshold) * (1.0 + above), problem.lambda_b, problem.loss)
    method = str(rng.choice(["auto", "continuum"]))
    yield _solve("narrow", rng, problem, seconds=10.0, method=method)


def groups_of_sizes(rng: Generator) -> Iterator[Result]:
    """Counts in two or three tight groups with nothing between, merged and not."""
    gap, width = rng.uniform(0.3, 2.5), log_uniform(rng, 1e-9, 3e-2)
    centres = np.concatenate([[0.0, gap], rng.uniform(0.0, gap, rng.integers(0, 2))])
    each = int(log_uniform(rng, 130, 350))
    spread = width * np.sort(rng.uniform(size=(centres.size, each)), axis=1)
    counts = np.unique(1000.0 * np.exp(centres[:, None] + spread))
    counts = np.repeat(counts, int(rng.choice([1, 2, 30])))
    lambda_z = log_uniform(rng, 0.1, 30.0) * math.sqrt(counts.max()) / counts.sum()
    problem = Problem(counts, lambda_z, draw_lambda_b(rng), ufm.Loss())
    method = str(rng.choice(["auto", "continuum"]))
    yield _solve("groups of sizes", rng, problem, seconds=10.0, method=method)


def losses(rng: Generator) -> Iterator[Result]:
    """Smoothing, adjusted and scaled logits, weights."""
    classes = int(rng.integers(2, 80))
    counts = draw_counts(
        rng, int(rng.integers(1, min(classes, 12) + 1)), classes, log_uniform(rng, 1.0 + 1e-6, 1e4)
    )
    loss = draw_loss(rng, counts)
    problem = Problem(counts, 1.0, draw_lambda_b(rng), loss)
    problem = Problem(counts, draw_lambda_z(rng, problem), problem.lambda_b, loss)
    method = str(rng.choice(["auto", "factored", "proximal"]))
    yield _solve("losses", rng, problem, seconds=3.0, method=method)


def batches(rng: Generator) -> Iterator[Result]:
    """`solve_many` on rows of different lengths; the hardest and some others are checked."""
    size = int(log_uniform(rng, 1, 2000))
    rows, lambdas_z, lambdas_b, problems = [], [], [], []
    for _ in range(size):
        distinct = int(rng.choice([1, 2, 2, 2, 3, 8, 30]))
        problem = draw_problem(rng, distinct, distinct + int(rng.integers(0, 20)), weighted=False)
        rows.append(problem.counts)
        lambdas_z.append(problem.lambda_z)
        lambdas_b.append(problem.lambda_b)
        problems.append(problem)
    batch = ufm.solve_many(
        rows, lambdas_z, lambdas_b, tol=1e-7, threads=int(rng.integers(1, 5)), time_limit=20.0
    )
    hardest = np.argsort(batch.relative_gap)[-3:]
    for index in np.unique(np.r_[hardest, rng.integers(size, size=12)]):
        yield check_solution(
            "batches", problems[index], batch[int(index)], allowed=frozenset({"TIME_LIMIT"})
        )


def warm_starts(rng: Generator) -> Iterator[Result]:
    """From the solution for another lambda_z, lambda_b or counts."""
    distinct = int(rng.integers(3, 100))
    problem = draw_problem(rng, distinct, distinct + 10, weighted=False)
    near = ufm.solve(
        problem.counts * log_uniform(rng, 0.1, 10.0),
        problem.lambda_z * log_uniform(rng, 0.2, 5.0),
        draw_lambda_b(rng),
        time_limit=3.0,
    )
    if near.num_clusters == np.unique(problem.counts).size:
        method = str(rng.choice(METHODS))
        yield _solve("warm starts", rng, problem, seconds=3.0, method=method, start=near)


def brackets(rng: Generator) -> Iterator[Result]:
    """Both sides of a cluster's threshold and of lambda_max."""
    distinct = int(rng.integers(1, 20))
    problem = draw_problem(
        rng, distinct, distinct + int(rng.integers(1, 40)), ratio=log_uniform(rng, 1.0 + 1e-6, 1e4)
    )
    found = ufm.thresholds(problem.counts, problem.lambda_b, loss=problem.loss)
    collapse = [cluster.collapse for cluster in found.clusters if cluster.multiplicity > 1]
    centre = found.lambda_max
    if collapse and rng.random() < 0.6:
        centre = float(rng.choice(collapse))
    if not centre > 0:
        return  # one class
    for factor in (1.0 - 1e-3, 1.0 + 1e-3):
        at = Problem(problem.counts, centre * factor, problem.lambda_b, problem.loss)
        solution = ufm.solve(
            at.counts, at.lambda_z, at.lambda_b, loss=at.loss, tol=1e-9, time_limit=5.0
        )
        result = check_solution("brackets", at, solution, allowed=frozenset({"TIME_LIMIT"}))
        if solution.converged and centre == found.lambda_max:
            zero = not any(solution.column(k).any() for k in range(at.counts.size))
            result.require(zero or factor < 1, "Z = 0 above lambda_max")
            # Just below, Z is of the size of the distance and worth only its square.
            result.require(
                not zero or factor > 1 or result.relative_gap > 1e-12, "Z is not 0 below lambda_max"
            )
        expected = {c.count: at.lambda_z >= c.collapse for c in found.clusters}
        if problem.loss.class_weights is None and solution.converged:
            for cluster in solution.clusters:
                if cluster.multiplicity > 1:
                    result.require(
                        cluster.collapsed == expected[cluster.count], "thresholds foretell merging"
                    )
        yield result


def _unmet_bias(problem: Problem, Z: np.ndarray, b: np.ndarray) -> float:
    """By how much the bias equation may shift a lower bound: the residual times the bias."""
    residual = numpy_oracle.bias_residual(Z, b, problem.counts)
    return float(np.abs(residual).sum() * np.abs(b).max())


def nonnegative(rng: Generator) -> Iterator[Result]:
    """Features after a ReLU; the dual bound by looking at every support."""
    classes = int(rng.integers(1, 9))
    problem = draw_problem(
        rng,
        int(rng.integers(1, classes + 1)),
        classes,
        ratio=log_uniform(rng, 1.0 + 1e-6, 1e5),
        weighted=False,
    )
    tol = float(rng.choice([1e-4, 1e-6, 1e-8]))
    solution = ufm.nonnegative_solution(
        problem.counts, problem.lambda_z, problem.lambda_b, tol=tol, time_limit=5.0
    )
    result = Result(
        kind="nonnegative",
        method=solution.method,
        status=solution.status.name,
        classes=classes,
        clusters=solution.num_clusters,
        tol=tol,
        objective=solution.objective,
        dual_objective=solution.dual_objective,
        relative_gap=solution.relative_gap,
        seconds=solution.seconds,
    )
    result.require(
        (result.status == "CONVERGED") == (result.relative_gap <= tol), "status is honest"
    )
    W, H = solution.factors()
    scale = max(1.0, float(np.abs(solution.Z).max()))
    result.require(bool((H >= 0).all()), "features are not negative")
    result.require(np.allclose(W @ H, solution.Z, rtol=1e-9, atol=1e-11 * scale), "Z = W H")
    shift = _unmet_bias(problem, W @ H, solution.b) if problem.lambda_b == 0 else 0.0
    try:
        found = nonnegative_oracle.certificate(
            W, H, solution.b, problem.counts, problem.lambda_z, problem.lambda_b
        )
    except AssertionError:  # the bias equation of an unregularised bias is too far from met for it
        result.proof = "bias equation only"
        result.require(
            result.status != "CONVERGED" or shift <= 0.01 * tol * result.objective,
            "bias equation holds",
        )
        yield result
        return
    result.primal, result.dual, result.proof = found.primal, found.dual, "proved"
    noise = noise_of(problem, found.primal) + 1e-9
    result.require(
        abs(result.objective - found.primal) <= noise * found.primal + 1e-290, "objective"
    )
    # The oracle's dual point is scaled without repairing its bias equation.
    if problem.lambda_b >= 1e-3:
        result.require(
            result.dual_objective <= found.dual + noise * found.primal + 1e-290,
            "dual objective is that of a feasible point",
        )
    result.require(
        result.dual_objective <= found.primal * (1 + noise) + 1e-290,
        "dual objective is a lower bound",
    )
    yield result


def constrained(rng: Generator) -> Iterator[Result]:
    """`layer_peeled`: norms bounded instead of penalised."""
    classes = int(rng.integers(2, 40))
    counts = draw_counts(
        rng, int(rng.integers(1, min(classes, 8) + 1)), classes, log_uniform(rng, 1.0 + 1e-6, 1e3)
    )
    loss = draw_loss(rng, counts) if rng.random() < 0.3 else ufm.Loss()
    constraint = str(rng.choice(["averaged", "total"]))
    energy = log_uniform(rng, 1e-3, 30.0) * (1.0 if constraint == "averaged" else counts.mean())
    solution = ufm.layer_peeled(
        counts, energy, energy * log_uniform(rng, 0.1, 10.0), constraint=constraint, loss=loss,
        lambda_b=draw_lambda_b(rng, zero=False), tol=1e-6, time_limit=5.0,
    )  # fmt: skip
    result = Result(
        kind="layer peeled",
        method=f"layer peeled, {solution.penalised.method}",
        status=solution.status.name,
        classes=classes,
        clusters=solution.penalised.num_clusters,
        tol=solution.tol,
        objective=solution.objective,
        dual_objective=solution.dual_objective,
        relative_gap=solution.relative_gap,
        seconds=solution.seconds,
    )
    result.require(
        (result.status == "CONVERGED") == (result.relative_gap <= solution.tol), "status is honest"
    )
    inner = solution.penalised
    problem = Problem(inner.counts, inner.lambda_z, inner.lambda_b, inner.loss)
    if inner.class_weights is not None:
        problem = Problem(
            inner.counts, inner.lambda_z, inner.lambda_b,
            ufm.Loss(smoothing=loss.smoothing, offsets=loss.offsets, scales=loss.scales,
                     class_weights=inner.class_weights),
        )  # fmt: skip
    root = np.sqrt(counts) if constraint == "total" else np.ones(classes)
    norm = float(np.linalg.svd(solution.Z * root, compute_uv=False).sum())
    result.require(norm <= solution.radius * (1 + 1e-9), "the constraint holds")
    at, _ = clusters_of(problem, inner)
    scaled = at.__class__(
        **{
            **at.__dict__,
            "own": solution.factor * at.own,
            "other": lambda columns: solution.factor * at.other(columns),
        }
    )
    oracle = Oracle(scaled)
    result.primal = oracle.primal(0.0, problem.lambda_b, 0.0)
    # The bound of the predictions as they are: below the one reported, which is at a better point.
    bound = oracle.constrained_bound(solution.radius, problem.lambda_b)
    result.proof = "proved"
    noise = noise_of(problem, result.primal) + 1e-9
    result.require(
        math.isclose(result.objective, result.primal, rel_tol=noise, abs_tol=1e-290), "objective"
    )
    result.require(
        result.dual_objective <= result.primal * (1 + noise) + 1e-290,
        "dual objective is a lower bound",
    )
    result.require(bound <= result.objective * (1 + noise) + 1e-290, "the bound is one")
    yield result


KINDS = {
    "tiny": Kind(tiny, 1.0, "1 to 12 classes, ratios to 1e12, all methods"),
    "small": Kind(small, 1.0, "3 to 60 different counts, all methods"),
    "medium": Kind(medium, 2.0, "48 to 400 different counts, all methods"),
    "grouped": Kind(grouped, 1.0, "1,000 to 1,000,000 classes of up to 40 sizes"),
    "many sizes": Kind(many_sizes, 3.0, "400 to 20,000 different counts"),
    "narrow": Kind(narrow, 1.0, "130 to 700 counts that hardly differ, close to a threshold"),
    "groups of sizes": Kind(
        groups_of_sizes, 1.0, "260 to 1,050 counts in two or three tight groups"
    ),
    "losses": Kind(losses, 1.0, "smoothed labels, scaled and shifted logits, weights"),
    "batches": Kind(batches, 1.0, "solve_many, up to 2,000 problems a call"),
    "warm starts": Kind(warm_starts, 0.5, "starts from other solutions"),
    "brackets": Kind(brackets, 0.5, "both sides of thresholds and of lambda_max"),
    "nonnegative": Kind(nonnegative, 0.5, "features after a ReLU"),
    "layer peeled": Kind(constrained, 0.5, "norm constraints"),
}
__all__ = ["KINDS", "ROUNDING", "Kind", "thresholds_of"]
