"""Solves the problem with nonnegative features: Newton on atoms, certified, atoms added."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ufm.solution import Status
from ufm.theory._bounded_newton import minimise
from ufm.theory._nonnegative_atoms import AtomProblem, Atoms
from ufm.theory._nonnegative_certificate import Certificate, certify, dual_matrix

_ROUNDS = 60
_ITERATIONS = 2000
# Projected gradient in units of lambda; each further entry is tried where the gap asks for it.
_FINEST = 1e-15
_SHRINKING = 1e-5


@dataclass(frozen=True, eq=False)
class Outcome:
    """Atoms, their certificate, and how the solve ended."""

    atoms: Atoms
    certificate: Certificate
    status: Status
    iterations: int


def start(problem: AtomProblem) -> Atoms:
    """One family for each cluster, near the closed form without bias."""
    loss = problem.loss
    clusters = loss.size.size
    K = loss.size.sum()
    wrong = problem.lambda_x / loss.alone * np.sqrt((K - 1) / K)
    height = np.log((K - 1) * np.maximum(1 / np.minimum(wrong, 0.9) - 1, 1.0 / (K - 1) + 1e-2))
    scale = np.sqrt(np.maximum(height, 0.1) * loss.root * loss.size)
    x = np.eye(clusters) * np.where(problem.separable, 0.0, scale)
    v = np.eye(clusters) * np.where(problem.separable, scale, 0.0)
    # e_k - 1/K, averaged over what is alike.
    size = loss.size
    mean = np.where(problem.separable, 1.0 / np.sqrt(size), 1.0)
    omega = np.diag(mean) - np.outer(np.sqrt(size), mean * np.sqrt(size)) / K
    eta = np.diag(np.where(problem.separable, np.sqrt(1.0 - 1.0 / size), 0.0))
    norm = np.sqrt((omega**2).sum(axis=0) + (eta**2).sum(axis=0))
    ratio = np.where(norm > 0, scale / np.maximum(norm, 1e-300), 0.0)
    keep = problem.present
    return Atoms(omega * ratio, eta * ratio, x, v, np.zeros(clusters)).chosen(keep)


def solve(
    problem: AtomProblem,
    atoms: Atoms,
    *,
    tol: float,
    max_iterations: int | None,
    time_limit: float,
) -> Outcome:
    """Solve from the given atoms.

    Newton's method finds a stationary point; the certificate either closes the gap or names
    directions along which the objective falls, which join the atoms.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _solve(problem, atoms, tol, max_iterations, time.perf_counter() + time_limit)


def _solve(
    problem: AtomProblem, atoms: Atoms, tol: float, max_iterations: int | None, deadline: float
) -> Outcome:
    limit = _ITERATIONS if max_iterations is None else max_iterations
    used = 0
    accuracy = 1e-3 * min(tol, 1e-3)
    best: tuple[Atoms, Certificate] | None = None
    status = Status.MAX_ITERATIONS
    for _ in range(_ROUNDS):
        atoms, iterations = _newton(problem, atoms, accuracy, limit - used, deadline)
        used += iterations
        certificate = certify(problem, atoms, tol, deadline)
        if best is None or certificate.relative_gap <= best[1].relative_gap:
            best = (atoms, certificate)
        if certificate.relative_gap <= tol:
            status = Status.CONVERGED
            break
        if time.perf_counter() > deadline:
            status = Status.TIME_LIMIT
            break
        if used >= limit:
            break
        grown = None if certificate.families is None else _grown(problem, atoms, certificate)
        if grown is not None:
            atoms = grown
        elif accuracy > _FINEST:
            accuracy = max(1e-3 * accuracy, _FINEST)
        else:
            status = Status.NUMERICAL_ERROR if certificate.exact else Status.MAX_ITERATIONS
            break
    assert best is not None
    return Outcome(best[0], best[1], status, used)


def _newton(
    problem: AtomProblem, atoms: Atoms, accuracy: float, iterations: int, deadline: float
) -> tuple[Atoms, int]:
    clusters = problem.loss.size.size
    free = np.zeros(2 * atoms.x.size, dtype=bool)
    bounded = np.concatenate([free, ~free, np.zeros(clusters, dtype=bool)])
    minimum = minimise(
        lambda vector: problem.at(Atoms.unpack(vector, clusters)),
        atoms.pack(),
        bounded,
        residual=accuracy * problem.lambda_x,
        max_iterations=max(iterations, 1),
        stop=lambda: time.perf_counter() > deadline,
    )
    atoms = Atoms.unpack(minimum.vector, clusters)
    if problem.lambda_b == 0.0:
        size = problem.loss.size
        atoms = replace(atoms, b=atoms.b - float(size @ atoms.b) / float(size.sum()))
    return _thinned(problem, atoms), minimum.iterations


def _thinned(problem: AtomProblem, atoms: Atoms) -> Atoms:
    """Without families that are nothing, and small ones that shrink: |G a| < lambda |a|.

    Newton's method only brings these near zero; that classes share a prediction is told by zeros.
    """
    G, within = dual_matrix(problem.at(atoms).point)
    w, a = problem.norms(atoms)
    c, r = problem.parts(atoms)
    pull = np.sqrt(((G @ c) ** 2).sum(axis=0) + ((within[:, None] * r) ** 2).sum(axis=0))
    mass = w * a
    whole = max(float(mass.sum()), problem.at(atoms).value / problem.lambda_x)
    shrinking = pull < (1.0 - _SHRINKING) * problem.lambda_x * a
    return atoms.chosen((mass > 1e-13 * whole) & ~(shrinking & (mass < 1e-6 * whole)))


def _grown(problem: AtomProblem, atoms: Atoms, certificate: Certificate) -> Atoms | None:
    """These atoms and new families, as large as lowers the objective most; None if none does."""
    families = certificate.families
    assert families is not None
    value = problem.at(atoms).value
    improved: Atoms | None = None
    for i in range(families.width):
        family = families.chosen(np.arange(families.width) == i)
        base = atoms if improved is None else improved
        size, lowest = _best_size(problem, base, family, value)
        if size > 0:
            improved, value = base.joined(family.scaled(size)), lowest
    return improved


def _best_size(
    problem: AtomProblem, base: Atoms, family: Atoms, at_zero: float
) -> tuple[float, float]:
    best, lowest = 0.0, at_zero
    for exponent in range(4, -40, -1):
        t = 2.0 ** (0.5 * exponent)
        value = problem.at(base.joined(family.scaled(t))).value
        if value < lowest:
            best, lowest = t, value
        elif best > 0:
            break
    return best, lowest
