"""Certificate of the problem with nonnegative features: a feasible dual point and its value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ufm.problem import FloatArray
from ufm.theory._bounded_newton import BoolArray
from ufm.theory._nonnegative_atoms import AtomProblem, Atoms
from ufm.theory._nonnegative_loss import LossPoint
from ufm.theory._orthant import Budget, OrthantMaximum, orthant_maximum

_MOST_FAMILIES = 6


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds of the optimum, and where the dual point is violated.

    Attributes
    ----------
    primal, dual : float
        Objective of the point, and of the dual point made from its predictions.
    relative_gap : float
        (primal - dual) / primal.
    polar : float
        Bound of max |G a| over unit a >= 0; the point is dual feasible where that is at most
        lambda.
    exact : bool
        Whether the bound is attained; a search cut short leaves one that may be loose.
    families : Atoms or None
        Families of atoms whose growth from zero lowers the objective.
    """

    primal: float
    dual: float
    relative_gap: float
    polar: float
    exact: bool
    families: Atoms | None


def certify(problem: AtomProblem, atoms: Atoms, tol: float, deadline: float) -> Certificate:
    """Certify atoms and bias.

    The dual point is P_s = I + s (P - I) with the largest s for which it is feasible: max |G a|
    over unit a >= 0 of G = (I - P_s) diag(pi / sqrt(n)) is at most lambda.
    """
    point = problem.loss.at(*problem.blocks(atoms), atoms.b)
    w, a = problem.norms(atoms)
    primal = point.total + problem.lambda_x * float(w @ a)
    if problem.lambda_b:
        primal += 0.5 * problem.lambda_b * float(problem.loss.size @ atoms.b**2)
    G, within = dual_matrix(point)
    if not np.isfinite([primal, *G.ravel(), *within]).all():
        return Certificate(primal, 0.0, float("inf"), float("inf"), False, None)
    found, level, shared = _polar(problem, G, within, tol, deadline)
    scale = problem.lambda_x / level * (1.0 - 1e-15)
    dual = dual_value(problem, point, atoms.b, scale)
    dual = dual if dual > 0.0 else 0.0  # no objective is negative
    families = _families(problem, G, within, found, shared) if found.vectors else None
    return Certificate(primal, dual, relative_gap(primal, dual), level, found.exact, families)


def relative_gap(primal: float, dual: float) -> float:
    """(primal - dual) / primal, infinity where the dual value is impossibly large."""
    if primal == 0.0 and dual == 0.0:
        return 0.0
    gap = (primal - dual) / abs(primal)
    return max(gap, 0.0) if gap > -1e-10 else float("inf")


def dual_matrix(point: LossPoint) -> tuple[FloatArray, FloatArray]:
    """G between clusters (C, C), and its value on differences within a cluster (C,)."""
    M, alpha, _ = point.gradient()
    return -M, -alpha / np.maximum(point.loss.size - 1.0, 1.0)


def orthant_matrix(
    problem: AtomProblem, G: FloatArray, within: FloatArray, level: float
) -> tuple[FloatArray, BoolArray]:
    """The matrix B (C, C) with max u^T B u <= level^2 if and only if max |G a| <= level.

    Both maxima are over unit vectors that are nonnegative. For given sum of a over a cluster,
    |G a|^2 - level^2 |a|^2 is linear in the norm of a there, with the sign of within^2 - level^2:
    the worst a is one class of the cluster where that is positive and all classes alike where
    it is not. Also returns which clusters are alike.
    """
    size = problem.loss.size
    excess = np.where(size > 1, within**2, 0.0)
    shared = (excess <= level**2) | (size == 1)
    root = np.where(shared, 1.0, 1.0 / np.sqrt(size))
    B = root[:, None] * (G.T @ G) * root
    B[np.diag_indices_from(B)] += np.where(shared, 0.0, excess * (1.0 - 1.0 / size))
    return B, shared


def _polar(
    problem: AtomProblem, G: FloatArray, within: FloatArray, tol: float, deadline: float
) -> tuple[OrthantMaximum, float, BoolArray]:
    """What exceeds lambda, a level that bounds max |G a|, and which clusters are alike."""
    level = problem.lambda_x * (1.0 + max(1e-3 * min(tol, 1e-3), 1e-13))
    slack = max(1e-2 * min(tol, 1e-3), 1e-13)
    used = np.ix_(problem.present, problem.present)

    def search() -> tuple[OrthantMaximum, BoolArray]:
        B, shared = orthant_matrix(problem, G, within, level)
        return orthant_maximum(B[used], level**2, slack, Budget(deadline=deadline)), shared

    found, shared = first, kinds = search()
    exact = first.exact
    while found.bound > level**2:
        # B depends on the level: a bound at one level need not be one at a higher.
        level = float(np.sqrt(found.bound)) * (1.0 + 1e-14)
        if (orthant_matrix(problem, G, within, level)[1] == shared).all():
            break
        found, shared = search()
        exact = exact and found.exact
    return OrthantMaximum(first.bound, exact, first.vectors), level, kinds


def is_feasible(problem: AtomProblem, point: LossPoint, slack: float) -> bool:
    """Whether |G a| <= lambda (1 + slack) for all unit a >= 0 at this point, for certain."""
    level = problem.lambda_x * (1.0 + slack)
    B, _ = orthant_matrix(problem, *dual_matrix(point), level)
    return orthant_maximum(B, level**2, 0.0, Budget()).bound <= level**2


def _families(
    problem: AtomProblem,
    G: FloatArray,
    within: FloatArray,
    found: OrthantMaximum,
    shared: BoolArray,
) -> Atoms:
    """Unit families along the violated directions, at most a few."""
    size = problem.loss.size[:, None]
    u = np.zeros((size.size, min(len(found.vectors), _MOST_FAMILIES)))
    u[problem.present] = np.stack([v for _, v in found.vectors[:_MOST_FAMILIES]], axis=1)
    x, v = np.where(shared[:, None], u, 0.0), np.where(shared[:, None], 0.0, u)
    c, r = x + v / np.sqrt(size), v * np.sqrt(1.0 - 1.0 / size)
    omega, eta = G @ c, within[:, None] * r
    norm = np.sqrt((omega**2).sum(axis=0) + (eta**2).sum(axis=0))
    return Atoms(omega / norm, eta / norm, x, v, np.zeros(problem.loss.size.size))


def dual_value(problem: AtomProblem, point: LossPoint, b: FloatArray, scale: float) -> float:
    """Value of the dual point P_s."""
    loss = problem.loss
    others = np.broadcast_to(loss.size[:, None], point.mass.shape).copy()
    others[np.diag_indices_from(others)] -= 1.0
    wrong = scale * point.wrong
    own = (1.0 - scale) + scale * point.own
    with np.errstate(divide="ignore", invalid="ignore"):
        log_own = np.where(wrong < 0.5, np.log1p(-np.minimum(wrong, 0.5)), np.log(own))
        spread = np.where(
            point.mass > 0, scale * point.mass * np.log(scale * point.mass / others), 0.0
        )
    entropy = -np.where(own > 0, own * log_own, 0.0) - spread.sum(axis=0)
    value = float((loss.size * loss.weight) @ entropy)
    return value - _bias_cost(problem, point, b, scale, value)


def _bias_cost(
    problem: AtomProblem, point: LossPoint, b: FloatArray, scale: float, value: float
) -> float:
    """What the bias costs the dual value.

    The dual point as it is costs |gradient|^2 / (2 lambda_b). Or a little probability is moved so
    that the bias equation holds exactly: the only way for lambda_b = 0, and the better one when it
    is tiny. What is moved is charged with the most it can change: the entropy by the largest
    |log p| of a double for each unit, and the norm of G, hence the scale of a feasible point.
    """
    loss = problem.loss
    gradient = scale * point.gradient()[2] / loss.size  # of one class
    moved = float(loss.size @ np.abs(gradient + problem.lambda_b * b))
    norm_change = 2.0 * moved / (float(loss.root.min()) * problem.lambda_x)
    repaired = (
        0.5 * problem.lambda_b * float(loss.size @ b**2) + 750.0 * moved + norm_change * abs(value)
    )
    if problem.lambda_b == 0.0:
        return repaired
    as_it_is = float(loss.size @ gradient**2) / (2.0 * problem.lambda_b)
    return min(as_it_is, repaired)
