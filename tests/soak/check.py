"""Holds a solution to its claims, by the independent oracle alone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import ufm
from oracles.blockwise_oracle import Clusters, Oracle
from oracles.numpy_oracle import Array
from ufm._between import StructuredBetween

# Nuclear norms are recomputed by a singular value decomposition up to this many clusters.
DENSE_NUCLEAR_NORM = 1200
ROUNDING = 1e-11
# By how much a reported objective may exceed the value at (Z, b): a part of it and of the gap.
UPPER_BOUND, PART_OF_GAP = 1e-8, 0.5


@dataclass(frozen=True, eq=False)
class Problem:
    """A penalised problem; `metric` is D where it is not the counts."""

    counts: Array
    lambda_z: float
    lambda_b: float
    loss: ufm.Loss = field(default_factory=ufm.Loss)

    @property
    def weights(self) -> Array:
        given = self.loss.class_weights
        return np.ones(self.counts.size) if given is None else np.asarray(given, dtype=float)

    @property
    def pi(self) -> Array:
        return self.weights * (self.counts / self.counts.sum())

    def vector(self, name: str, default: float) -> Array:
        given = getattr(self.loss, name)
        return np.full(self.counts.size, default) if given is None else np.asarray(given, float)

    def describe(self) -> dict[str, Any]:
        """What a report needs to tell the problem."""
        return {
            "K": int(self.counts.size),
            "ratio": float(self.counts.max() / self.counts.min()),
            "lambda_z": self.lambda_z,
            "lambda_b": self.lambda_b,
            "loss": self.loss.describe(),
        }


@dataclass(eq=False)
class Result:
    """A solve beside what was recomputed; a fault is a claim that did not hold."""

    kind: str
    method: str
    status: str
    classes: int
    clusters: int
    tol: float
    objective: float
    dual_objective: float
    relative_gap: float
    primal: float = math.nan
    dual: float = math.nan
    proof: str = ""
    seconds: float = 0.0
    problem: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def require(self, holds: bool, claim: str) -> None:
        """Record a fault where a claim does not hold."""
        if not holds:
            self.faults.append(claim)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def clusters_of(problem: Problem, solution: ufm.Solution) -> tuple[Clusters, Array]:
    """The point by clusters, grouped here and not by the package; a class of each cluster."""
    keys = np.stack(
        [
            -problem.counts,
            -problem.weights,
            -problem.vector("scales", 1.0),
            -problem.vector("offsets", 0.0),
        ]
    )
    _, first, sizes = np.unique(keys, axis=1, return_index=True, return_counts=True)
    place = solution.cluster_of[first]
    if solution.num_clusters <= 4000 or not isinstance(solution.between, StructuredBetween):
        blocks = solution.blocks
        matrix = blocks.between[np.ix_(place, place)]

        def other(columns: slice) -> Array:
            return matrix[:, columns]

        own = blocks.own[place]
    else:
        other, own = _low_rank(solution, place, sizes.astype(float), problem.counts[first])
    at = Clusters(
        sizes=sizes.astype(float),
        metric=problem.counts[first],
        pi=problem.pi[first],
        scales=problem.vector("scales", 1.0)[first],
        offsets=problem.vector("offsets", 0.0)[first],
        smoothing=problem.loss.smoothing,
        own=own,
        bias=solution.b[first],
        other=other,
    )
    return at, first


def _low_rank(
    solution: ufm.Solution, place: Array, sizes: Array, counts: Array
) -> tuple[Any, Array]:
    """Columns of Z from M = diag(d) + L R^T, for more clusters than C x C numbers are wanted of."""
    between, root = solution.between, np.sqrt(sizes)
    left = between.left[place] / root[:, None]
    right = between.right[place] / (root * np.sqrt(counts))[:, None]
    diagonal = between.d[place] / (sizes * np.sqrt(counts))
    amplitude = solution.amplitudes[place] / np.sqrt(counts)

    def other(columns: slice) -> Array:
        block = left @ right[columns].T
        inside = np.arange(columns.start, columns.stop)
        block[inside, inside - columns.start] += (
            diagonal[columns] - amplitude[columns] / root[columns] ** 2
        )
        return block

    mean = np.einsum("ij,ij->i", left, right) + diagonal
    return other, mean + amplitude * (1.0 - 1.0 / sizes)


def noise_of(problem: Problem, primal: float) -> float:
    """Relative size of what rounding alone can do to a dual value.

    The bias enters the dual as ``|r|^2 / (2 lambda_b)`` with r a difference of numbers up to the
    largest loss weight.
    """
    noise = ROUNDING
    if 0 < problem.lambda_b < math.inf:
        unit = (10 * np.finfo(float).eps * problem.pi.max()) ** 2 * problem.counts.size
        noise += unit / (2 * problem.lambda_b) / max(primal, 1e-300)
    # Entropies are sums of terms of order one: they are no better than rounding of that.
    return noise + 1e-14 * float(problem.pi.sum()) / max(primal, 1e-300)


def check_solution(
    kind: str, problem: Problem, solution: ufm.Solution, *, allowed: frozenset[str]
) -> Result:
    """Recompute what a solution claims; `allowed` are the honest reasons for not converging."""
    result = Result(
        kind=kind,
        method=solution.method,
        status=solution.status.name,
        classes=solution.num_classes,
        clusters=solution.num_clusters,
        tol=solution.tol,
        objective=solution.objective,
        dual_objective=solution.dual_objective,
        relative_gap=solution.relative_gap,
        seconds=solution.seconds,
        problem=problem.describe(),
    )
    _check_status(result, allowed)
    at, first = clusters_of(problem, solution)
    result.require(at.count == solution.num_clusters, "number of clusters")
    result.require(
        bool(np.isfinite(at.own).all() and np.isfinite(solution.b).all()), "Z and b are finite"
    )
    _check_entries(result, problem, solution, at, first)
    if not result.faults:
        _check_values(result, problem, solution, Oracle(at))
        _check_verdicts(result, problem, solution, first)
    return result


def _check_status(result: Result, allowed: frozenset[str]) -> None:
    objective, dual, gap = result.objective, result.dual_objective, result.relative_gap
    result.require(math.isfinite(objective) and objective >= 0, "objective is finite")
    result.require(math.isfinite(dual), "dual objective is finite")
    result.require(gap >= 0, "gap is not negative")
    result.require((result.status == "CONVERGED") == (gap <= result.tol), "status is honest")
    result.require(
        # Without a limit on the iterations each method has one of its own.
        result.status in allowed | {"CONVERGED", "NUMERICAL_ERROR", "MAX_ITERATIONS"},
        f"status {result.status} has a cause",
    )
    expected = (objective - dual) / max(abs(objective), 1e-300)
    result.require(
        math.isclose(max(expected, 0.0), gap, rel_tol=1e-6, abs_tol=ROUNDING),
        "gap is that of objective and dual objective",
    )


def _check_entries(
    result: Result, problem: Problem, solution: ufm.Solution, at: Clusters, first: Array
) -> None:
    """A few columns and entries by the public methods, against the blocks that are checked."""
    rng = np.random.default_rng(0)
    scale = 1e-9 * max(float(np.abs(at.own).max()), 1e-300)
    for i in rng.integers(at.count, size=min(3, at.count)):
        k = int(first[i])
        column = solution.column(k)
        block = at.other(slice(int(i), int(i) + 1))[:, 0]
        keep = np.arange(at.count) != i
        same = np.allclose(column[first][keep], block[keep], rtol=1e-9, atol=scale)
        result.require(
            same and math.isclose(column[k], at.own[i], rel_tol=1e-9, abs_tol=scale),
            "columns agree with blocks",
        )
        j = int(rng.integers(solution.num_classes))
        result.require(
            math.isclose(solution.entry(j, k), column[j], rel_tol=1e-9, abs_tol=scale),
            "entries agree with columns",
        )
    if math.isinf(problem.lambda_b):
        result.require(not solution.b.any(), "no bias")


def extended_dual(problem: Problem, solution: ufm.Solution) -> float:
    """Without bias penalty and for few classes, in extended precision; NaN elsewhere.

    There the oracle moves probability until the bias equation holds. Where counts
    or weights differ by many orders of magnitude, rounding in that changes the norm of the gradient
    by more than is allowed for.
    """
    real = np.longdouble
    if problem.counts.size > 64 or not problem.loss.is_weighted_cross_entropy:
        return math.nan
    if np.finfo(real).eps > 1e-18 or problem.lambda_b != 0:
        return math.nan
    counts, b = problem.counts.astype(real), solution.b.astype(real)
    pi = problem.weights * counts / counts.sum()
    logits = solution.Z.astype(real) + b[:, None]
    odds = np.exp(logits - np.diag(logits))
    np.fill_diagonal(odds, 0)
    wrong = odds / (1 + odds.sum(axis=0))
    gradient = -wrong
    np.fill_diagonal(gradient, wrong.sum(axis=0))
    norm = float(np.linalg.norm((gradient * (pi / np.sqrt(counts))).astype(float), 2))
    scale = min(1.0, problem.lambda_z / norm)
    drift = scale * float(np.abs(gradient @ pi).sum())
    wrong, logarithms = scale * wrong, np.log(np.where(wrong > 0, scale * wrong, 1))
    missed = wrong.sum(axis=0)
    entropy = -(wrong * logarithms).sum(axis=0) - (1 - missed) * np.log1p(-missed)
    value = float(pi @ entropy)
    # What is left of the bias equation, moved at the highest price: a probability's logarithm, and
    # the norm that it adds.
    price = 750.0 + 2.0 * value / (math.sqrt(problem.counts.min()) * problem.lambda_z)
    return value - price * drift


def _check_values(result: Result, problem: Problem, solution: ufm.Solution, oracle: Oracle) -> None:
    lambda_z, lambda_b = problem.lambda_z, problem.lambda_b
    exact = oracle.at.count <= DENSE_NUCLEAR_NORM
    points = oracle.points(lambda_b)
    norms = [oracle.norm(point) for point in points]
    excess = max(norm[1] for norm in norms)
    proved = math.isfinite(excess)
    if exact:
        nuclear = oracle.nuclear_norm()
    else:
        # A norm that was only probed may be too small; near the optimum it is lambda_z.
        least = 1e-300 if proved else lambda_z
        nuclear = max(
            oracle.nuclear_norm_below(point, max(norm, least))
            for point, (norm, _) in zip(points, norms, strict=True)
        )
    certificate = oracle.certificate(lambda_z, lambda_b, nuclear)
    result.primal, result.dual = certificate.primal, certificate.dual
    result.proof = ("proved" if proved else "probed") + ("" if exact else ", nuclear norm bounded")
    noise = noise_of(problem, certificate.primal)
    value, tiny = abs(certificate.primal), 1e-290
    # Without the exact nuclear norm, `primal` is a lower bound of the value at (Z, b), or an
    # estimate of it where the operator norm was only probed.
    slack = noise if exact or proved else noise + 1e-6
    result.require(
        result.objective >= certificate.primal - slack * value - tiny,
        "objective is not below the value at (Z, b)",
    )
    if exact:
        above = UPPER_BOUND + PART_OF_GAP * result.relative_gap + noise
        result.require(
            result.objective <= certificate.primal + above * value + tiny,
            "objective is the value at (Z, b)",
        )
    else:
        near = certificate.primal + (2 * result.relative_gap + 1e-6) * value
        result.require(result.objective <= near + tiny, "objective is near its lower bound")
        # `primal` is below the value at (Z, b), so that it may be below the dual one as well.
        result.require(
            result.dual_objective <= result.objective * (1 + ROUNDING), "dual objective is below"
        )
    if exact:
        result.require(
            result.dual_objective <= certificate.primal + slack * value + tiny,
            "dual objective is a lower bound",
        )
    # A norm that is too large by a part costs the dual value some such parts.
    loose = noise + 30 * excess if proved else 1e-6
    if result.dual_objective > certificate.dual + loose * value + tiny:
        result.dual = max(certificate.dual, extended_dual(problem, solution))
    result.require(
        result.dual_objective <= result.dual + loose * value + tiny,
        "dual objective is that of a feasible point",
    )


def _check_verdicts(result: Result, problem: Problem, solution: ufm.Solution, first: Array) -> None:
    """Clusters merge exactly at their thresholds (theory, facts 5 and 13), away from rounding."""
    if not solution.converged or solution.tol > 1e-5:
        return
    factor = problem.vector("scales", 1.0) * (1.0 - problem.loss.smoothing)
    threshold = (factor * problem.pi / np.sqrt(problem.counts))[first]
    several = np.bincount(solution.cluster_of)[solution.cluster_of[first]] > 1
    collapsed = solution.collapsed[first]
    result.require(not collapsed[~several].any(), "a class alone in its cluster has not merged")
    clear = several & (np.abs(problem.lambda_z / threshold - 1.0) > 1e-9)
    result.require(
        bool((collapsed == (problem.lambda_z >= threshold))[clear].all()),
        "clusters merge exactly at their thresholds",
    )
