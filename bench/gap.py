"""The one judge of all solvers: relative duality gap of (Z, b) in plain numpy.

Nothing here comes from the package that is timed. One minus a probability is never formed by a
subtraction, so that gaps stay meaningful where the fit is nearly perfect (tiny lambda_z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.cases import Array, Case

HALF = 0.5


@dataclass(frozen=True)
class Gap:
    """A primal value that was reached and a lower bound on all of them."""

    primal: float
    dual: float

    @property
    def relative(self) -> float:
        value = (self.primal - self.dual) / max(abs(self.primal), 1e-300)
        return max(value, 0.0) if math.isfinite(value) else math.inf


@dataclass(frozen=True)
class Columns:
    """Softmax of the columns: own entries, the others (zero diagonal), 1 - own, and the loss."""

    own: Array
    others: Array
    wrong: Array
    loss: Array


def softmax_columns(Z: Array, b: Array) -> Columns:
    """Softmax of each column of ``Z + b 1^T``, accurate when 1 - p_kk is tiny."""
    relative = Z + b[:, None]
    relative -= np.diag(relative).copy()
    np.fill_diagonal(relative, -np.inf)  # the own logit, which is now 0, is kept apart
    shift = np.maximum(relative.max(axis=0, initial=-np.inf), 0.0)
    others = np.exp(relative - shift)
    own = np.exp(-shift)
    rest = others.sum(axis=0)
    total = own + rest
    loss = np.where(shift > 0.0, shift + np.log(total), np.log1p(rest))
    return Columns(own / total, others / total, rest / total, loss)


def identity_minus(p: Columns) -> Array:
    """I - P."""
    residual = -p.others
    np.fill_diagonal(residual, p.wrong)
    return residual


def entropy(p: Columns, s: float) -> Array:
    """Entropy of the columns of I + s (P - I)."""
    others = s * p.others
    logs = np.log(others, out=np.zeros_like(others), where=others > 0.0)
    wrong = s * p.wrong
    own = np.where(wrong < HALF, 1.0 - wrong, (1.0 - s) + s * p.own)
    near = np.log1p(-np.minimum(wrong, HALF))
    far = np.log(own, out=np.zeros_like(own), where=own > 0.0)
    return -(others * logs).sum(axis=0) - own * np.where(wrong < HALF, near, far)


def raw_gap(Z: Array, b: Array, case: Case) -> Gap:
    """Gap of exactly this point, with the dual point I + s (P - I)."""
    counts, lambda_z, lambda_b = case.counts, case.lambda_z, case.lambda_b
    root = np.sqrt(counts)
    pi = counts / counts.sum()
    p = softmax_columns(Z, b)
    nuclear = np.linalg.svd(Z * root, compute_uv=False).sum()
    primal = pi @ p.loss + lambda_z * nuclear + 0.5 * lambda_b * (b @ b)
    residual = identity_minus(p)
    norm = np.linalg.norm(residual * (pi / root), 2)
    s = min(1.0, lambda_z / norm) if norm > 0.0 else 1.0
    drift = s * (residual @ pi)
    dual = pi @ entropy(p, s) - (drift @ drift) / (2.0 * lambda_b)
    return Gap(float(primal), float(dual))


def best_bias(Z: Array, b: Array, case: Case, steps: int = 15) -> Array:
    """Minimise the objective over the bias alone, by damped Newton steps from b."""
    counts, lambda_b = case.counts, case.lambda_b
    pi = counts / counts.sum()

    def value(point: Array) -> float:
        p = softmax_columns(Z, point)
        return float(pi @ p.loss + 0.5 * lambda_b * (point @ point))

    for _ in range(steps):
        p = softmax_columns(Z, b)
        gradient = lambda_b * b - identity_minus(p) @ pi
        full = p.others + np.diag(p.own)
        hessian = np.diag(full @ pi + lambda_b) - (full * pi) @ full.T
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        here = value(b)
        if decrement <= 1e-15 * here:
            break
        length = 1.0
        while value(b - length * step) > here - 0.25 * length * decrement and length > 1e-3:
            length *= 0.5
        b = b - length * step
    return b


def judge(Z: Array, b: Array, case: Case) -> Gap:
    """Gap of a solver's answer, after one exact minimisation over the bias.

    Both biases, the given and the best one, give a primal value that can be reached and a valid
    lower bound; the better of each counts. All solvers get this, outside their time.
    """
    if not (np.isfinite(Z).all() and np.isfinite(b).all()):
        return Gap(math.inf, -math.inf)
    given = raw_gap(Z, b, case)
    refined = raw_gap(Z, best_bias(Z, b, case), case)
    return Gap(min(given.primal, refined.primal), max(given.dual, refined.dual))
