"""Networks whose features are taken after a ReLU: :func:`nonnegative_solution`."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._between import DenseBetween, StructuredBetween
from ufm._memory import explained_memory, several_arrays
from ufm.problem import (
    FloatArray,
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
)
from ufm.solution import Status
from ufm.theory._nonnegative_atoms import AtomProblem
from ufm.theory._nonnegative_certificate import relative_gap
from ufm.theory._nonnegative_factors import NonnegativeSolution
from ufm.theory._nonnegative_loss import ClusterLoss
from ufm.theory._nonnegative_solve import solve, start

__all__ = ["NonnegativeSolution", "nonnegative_solution"]

_EMPTY: FloatArray = np.empty(0)
# A stiffer bias penalty, in units of lambda_z, moves the objective by less than rounding.
_STIFFEST = 1e100


def nonnegative_solution(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    *,
    tol: float = 1e-6,
    class_weights: ArrayLike | None = None,
    max_iterations: int | None = None,
    time_limit: float | None = None,
) -> NonnegativeSolution:
    """Solve the unconstrained feature model with nonnegative features, with a certificate.

    Minimises, over the mean prediction matrix Z (K, K) and the bias b (K,),

        sum_k pi_k CE(z_k + b, e_k) + lambda_z gauge(Z D^(1/2)) + (lambda_b / 2) ||b||^2

    with gauge(X) the least sum_j |w_j| |a_j| over all X = sum_j w_j a_j^T with a_j >= 0, which is
    what weight decay on classifier and features amounts to when features are nonnegative and there
    are enough of them. The nuclear norm of :func:`ufm.solve` is the same without the sign.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    lambda_z : float
        Weight of the gauge, sqrt(lambda_W lambda_H); positive.
    lambda_b : float
        Weight of the bias penalty; positive, ``0`` for an unregularised bias (the one with zero
        mean is returned) or ``float("inf")`` for no bias, which has a closed form.
    tol : float
        Relative duality gap at which the solve counts as converged.
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given (not normalised).
    max_iterations : int, optional
        Limit on the Newton iterations.
    time_limit : float, optional
        Seconds after which the best iterate so far is certified and returned.

    Returns
    -------
    NonnegativeSolution
        Has the attributes and methods of :class:`ufm.Solution`; ``factors()`` returns H >= 0. A
        solve that did not reach `tol` says so in ``status``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.

    Notes
    -----
    Without bias every class has a column of its own: the gauge is sum_k sqrt(n_k) ||z_k||, and
    z_k = a_k (e_k - 1/K) with a_k = log((K - 1) (1/q_k - 1)) and
    q_k = lambda_z sqrt(n_k) / pi_k sqrt((K - 1) / K), or 0 where that is not positive.

    With a bias, classes with equal counts and weights are grouped exactly, so that the cost depends
    on the number of different counts and not on K. Factors of the problem by clusters are
    minimised by Newton's method. That problem is not convex, but what it finds is certified: a
    dual point is feasible if |G a| <= lambda_z for all unit a >= 0, where G is minus the loss
    gradient in Z D^(1/2). The largest |G a| is found by branch and bound over sets of clusters; in
    each cluster the worst a lies on one class or is equal on all of them. If it exceeds lambda_z,
    its a is a feature that lowers the objective, and the search goes on. Many different counts
    with a tiny lambda_b can make that search too long; a bound that is not attained is used then
    and ``dual_bound_is_exact`` is false.

    All of it is derived from the convex problem of Hong and Ling, arXiv 2309.09725.

    Examples
    --------
    >>> import ufm
    >>> solution = ufm.nonnegative_solution([150] * 5 + [30] * 5, lambda_z=0.0073, lambda_b=0.02)
    >>> W, H = solution.factors()
    >>> solution.status.name, int(solution.collapsed.sum()), bool((H >= 0).all())
    ('CONVERGED', 5, True)
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    lambda_z = check_positive("lambda_z", lambda_z)
    lambda_b = check_lambda_b(lambda_b)
    tol = check_positive("tol", tol)
    limit = check_limit("max_iterations", max_iterations)
    seconds = math.inf if time_limit is None else check_positive("time_limit", time_limit)

    began = time.perf_counter()
    core_weights = _EMPTY if weights is None else weights
    cluster_of, count, weight, size = _core.group(counts, core_weights)
    if counts.size == 1 or lambda_b == math.inf:
        found = _closed_form(counts.size, count, weight, size, lambda_z, tol)
    else:
        what = f"{count.size} different counts with nonnegative features"
        with explained_memory(f"solving {what} {several_arrays(count.size, count.size)}"):
            found = _by_newton(count, weight, size, lambda_z, lambda_b, tol, limit, seconds)
    return NonnegativeSolution(
        counts=counts,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        class_weights=weights,
        tol=tol,
        cluster_of=cluster_of,
        cluster_count=count,
        cluster_loss_weight=weight,
        multiplicity=size,
        linear_algebra="numpy",
        seconds=time.perf_counter() - began,
        **found,
    )


def _closed_form(
    K: int, count: FloatArray, weight: FloatArray, size: FloatArray, lambda_z: float, tol: float
) -> dict[str, Any]:
    """Without bias: every class by itself."""
    root = np.sqrt(count)
    part = (K - 1) / K
    # The probability of the wrong classes, at most what no features give.
    with np.errstate(over="ignore"):
        wrong = np.minimum(lambda_z / (weight / root) * math.sqrt(part), part)
    with np.errstate(divide="ignore"):
        height = math.log(max(K - 1, 1)) + np.log1p(-wrong) - np.log(wrong)
    height = np.where(wrong < part, np.maximum(height, 0.0), 0.0)
    mass = size * weight
    loss = -np.log1p(-wrong)
    gauge = math.sqrt(part) * root * height
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(wrong > 0, -wrong * np.log(wrong / max(K - 1, 1)), 0.0)
    primal = float(mass @ loss + lambda_z * (size @ gauge))
    dual = float(mass @ ((1 - wrong) * loss + spread))
    gap = relative_gap(primal, dual)
    active = int(size[height > 0].sum())
    left, right = -np.sqrt(size)[:, None] / K, (height * np.sqrt(size) * root)[:, None]
    return {
        "between": StructuredBetween(height * root, left, right),
        "scaled_bias": np.zeros(count.size),
        "amplitudes": height * root,
        "objective": primal,
        "dual_objective": dual,
        "relative_gap": gap,
        "status": Status.CONVERGED if gap <= tol else Status.NUMERICAL_ERROR,
        "iterations": 0,
        "method": "closed form",
        "known_rank": min(active, K - 1),
    }


def _by_newton(
    count: FloatArray,
    weight: FloatArray,
    size: FloatArray,
    lambda_z: float,
    lambda_b: float,
    tol: float,
    limit: int | None,
    seconds: float,
) -> dict[str, Any]:
    top = math.sqrt(float(count.max()))
    root = np.sqrt(count) / top
    lambda_x = lambda_z * top
    # ||G||_F is below this whatever the predictions are: Z = 0 from there on.
    ceiling = math.sqrt(2.0 * float(size.sum())) * float((weight / root).max())
    unit = min(lambda_x, ceiling)  # divides the objective, which tiny lambdas make tiny
    stiffness = min(lambda_b / unit, _STIFFEST)
    loss = ClusterLoss(size, root, weight / unit)
    problem = AtomProblem(loss, 1.0, stiffness, np.ones(count.size, dtype=bool))
    begin = start(problem)
    if lambda_x >= ceiling:
        begin = begin.chosen(np.zeros(begin.width, dtype=bool))
    outcome = solve(problem, begin, tol=tol, max_iterations=limit, time_limit=seconds)
    atoms, certificate = outcome.atoms, outcome.certificate
    if lambda_b / unit > _STIFFEST:
        atoms = replace(atoms, b=atoms.b * (_STIFFEST * unit / lambda_b))
    M, alpha = problem.blocks(atoms)
    values = np.linalg.svd(M, compute_uv=False) if atoms.width else np.zeros(1)
    within = int((size[alpha > 0] - 1).sum())
    return {
        "between": DenseBetween(M * top),
        "scaled_bias": atoms.b * np.sqrt(size),
        "amplitudes": alpha * top,
        "objective": certificate.primal * unit,
        "dual_objective": certificate.dual * unit,
        "relative_gap": certificate.relative_gap,
        "status": outcome.status,
        "iterations": outcome.iterations,
        "method": "nonnegative atoms",
        "known_rank": within + int((values > 1e-8 * max(values.max(), alpha.max())).sum()),
        "atoms": atoms,
        "dual_bound_is_exact": certificate.exact,
    }
