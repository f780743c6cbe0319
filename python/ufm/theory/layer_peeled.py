"""The layer-peeled model, with norm constraints in place of penalties: :func:`layer_peeled`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._loss import Loss, check_loss
from ufm.problem import (
    FloatArray,
    check_choice,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
)
from ufm.solution import Status
from ufm.solver import METHODS, check_continuum
from ufm.theory._layer_peeled import LayerPeeledSolution
from ufm.theory._multiplier import PenalisedProblem, find_multiplier
from ufm.theory.thresholds import thresholds

CONSTRAINTS = ("averaged", "total")


def layer_peeled(
    counts: ArrayLike,
    energy_w: float,
    energy_h: float,
    *,
    constraint: str = "averaged",
    lambda_b: float = math.inf,
    class_weights: ArrayLike | None = None,
    loss: Loss | None = None,
    tol: float = 1e-6,
    method: str = "auto",
    max_solves: int | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    progress: Callable[[int, float, float], Any] | None = None,
) -> LayerPeeledSolution:
    """Solve the layer-peeled model with a certificate of optimality.

    Minimises (1/N) sum_{k,i} CE(W h_ki + b, e_k) over the classifier W, the features h_ki of all
    samples and the bias, subject to norm constraints. Two conventions are in use:

    - "averaged", that of Fang, He, Long and Su (2021):
      (1/K) sum_k ||w_k||^2 <= energy_w and (1/K) sum_k (1/n_k) sum_i ||h_ki||^2 <= energy_h.
      Each class has the same share of the features' energy, however few its samples.
    - "total": ||W||_F^2 <= energy_w and sum_{k,i} ||h_ki||^2 <= energy_h, the constraint that
      belongs to the penalties of :func:`ufm.solve`.

    Both are convex in the mean prediction matrix Z (exact where the feature dimension is at least
    the rank of Z; derived as for the penalised model of Hong and Ling, arXiv 2309.09725):

        min over Z, b of  sum_k pi_k CE(z_k + b, e_k) + (lambda_b / 2) ||b||^2
        subject to  ||Z G^(1/2)||_* <= radius

    with G = I and radius = K sqrt(energy_w energy_h) ("averaged"), or G = diag(counts) and radius =
    sqrt(energy_w energy_h) ("total"). The nuclear norm of the penalised solution falls as its
    lambda_z grows; the lambda_z at which it meets the radius is found by Brent's method.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive.
    energy_w, energy_h : float
        Bounds of the squared norms; positive.
    constraint : {"averaged", "total"}
        What they bound.
    lambda_b : float
        Weight of the bias penalty; infinity (no bias, as in the model's first form) by default, 0
        for an unregularised bias.
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given.
    loss : Loss, optional
        Smoothed labels, scaled and shifted logits (:mod:`ufm.losses`).
    tol : float
        Relative gap between the objective at a feasible point and the dual bound below.
    method, threads
        As in :func:`ufm.solve`.
    max_solves : int, optional
        Limit on the penalised problems solved; 100 by default, some 5 to 10 are usual.
    time_limit : float, optional
        Seconds after which the best point so far is returned.
    progress : callable, optional
        Called as ``progress(solves, objective, relative_gap)`` after each penalised problem. A
        true return value ends the search with status ``INTERRUPTED``.

    Returns
    -------
    LayerPeeledSolution

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.

    Notes
    -----
    Lower bound (weak duality, derived): whatever lambda >= 0, a dual value D of the problem
    penalised with lambda gives D - lambda * radius; the best over all solves counts. The feasible
    point is the penalised solution scaled to the radius.

    Energies so ample that the loss falls below about 1e-120 are beyond double precision: the
    status then is ``NUMERICAL_ERROR``.

    Minority collapse in terms of the multiplier: the classes with n samples share one mean
    prediction if and only if lambda_z >= n / N ("averaged"), or sqrt(n) / N ("total").

    Examples
    --------
    >>> import ufm
    >>> solution = ufm.layer_peeled([50, 50, 5, 5], energy_w=1.0, energy_h=1.0)
    >>> solution.status.name, solution.collapsed.tolist()
    ('CONVERGED', [False, False, True, True])
    """
    start = time.perf_counter()
    counts = check_counts(counts)
    energies = (check_positive("energy_w", energy_w), check_positive("energy_h", energy_h))
    averaged = check_choice("constraint", constraint, CONSTRAINTS) == "averaged"
    lambda_b = check_lambda_b(lambda_b)
    loss, weights = check_loss(loss, class_weights, counts)
    tol = check_positive("tol", tol)
    method = check_choice("method", method, METHODS)
    check_continuum(method, loss)
    limit = check_limit("max_solves", max_solves)
    check_limit("threads", threads)
    seconds = math.inf if time_limit is None else check_positive("time_limit", time_limit)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None, got {progress!r:.80}")

    K = counts.size
    totals = (energies[0] * K, energies[1] * K) if averaged else energies
    radius = math.sqrt(totals[0]) * math.sqrt(totals[1])
    if not 1e-150 < radius < 1e150:
        raise ValueError(
            f"energy_w * energy_h is out of range: energy_w = {energies[0]}, "
            f"energy_h = {energies[1]}"
        )
    penalised = _penalised_counts(counts, weights, averaged)
    adjusted = Loss(
        smoothing=loss.smoothing,
        offsets=loss.offsets,
        scales=loss.scales,
        class_weights=penalised[1],
    )
    problem = PenalisedProblem(
        counts=penalised[0],
        lambda_b=lambda_b,
        loss=adjusted,
        lambda_max=thresholds(penalised[0], lambda_b, loss=adjusted).lambda_max,
        options={"method": method, "threads": threads},
    )
    found = find_multiplier(
        problem,
        radius,
        tol=tol,
        max_solves=limit or 100,
        deadline=start + seconds,
        progress=progress,
    )
    converged = found.relative_gap <= tol
    return LayerPeeledSolution(
        counts=counts,
        energy_w=energies[0],
        energy_h=energies[1],
        constraint=constraint,
        lambda_b=lambda_b,
        loss=loss,
        class_weights=weights,
        tol=tol,
        penalised=found.solution,
        factor=found.factor,
        radius=radius,
        total_w=totals[0],
        total_h=totals[1],
        objective=found.primal,
        dual_objective=found.bound,
        relative_gap=found.relative_gap,
        status=Status.CONVERGED if converged else found.reason,
        solves=found.solves,
        seconds=time.perf_counter() - start,
    )


def _penalised_counts(
    counts: FloatArray, weights: FloatArray | None, averaged: bool
) -> tuple[FloatArray, FloatArray | None]:
    """Counts and class weights of the penalised problem with the same loss and constraint.

    Its counts are the weights of the features in the norm; "averaged" these are all 1, and the
    samples are left to the loss: w_k n_k / N = (w_k K n_k / N) (1 / K).
    """
    if not averaged:
        return counts, weights
    shares = counts * (counts.size / counts.sum())
    return np.ones(counts.size), shares if weights is None else shares * weights
