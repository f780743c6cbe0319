"""Solving the unconstrained feature model: :func:`solve`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm import _core
from ufm._between import DenseBetween, StructuredBetween
from ufm._linalg import backend_name, ensure_lapack, limited_threads
from ufm._loss import Loss, check_loss, group
from ufm._memory import memory_error, several_arrays
from ufm.problem import (
    FloatArray,
    check_choice,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
)
from ufm.solution import Solution, Status

METHODS = ("auto", "proximal", "factored", "continuum")

_UNLIMITED: AbstractContextManager[Any] = nullcontext()
_EMPTY: FloatArray = np.empty(0)

# Products of fewer rows gain nothing from a second BLAS thread, and on a busy machine the threads'
# waiting for each other costs several times the work.
_WORTH_THREADS = 400


def _is_too_small_for_threads(
    counts: FloatArray, weights: FloatArray, method: str, loss: Loss
) -> bool:
    if method in ("auto", "continuum") and loss.is_weighted_cross_entropy:
        return True  # products with a few nodes a panel
    return not _has_distinct(counts, weights, loss, _WORTH_THREADS)


def _has_distinct(counts: FloatArray, weights: FloatArray, loss: Loss, limit: int) -> bool:
    if counts.size < limit:
        return False
    if not (loss.has_scales or loss.has_offsets):
        return _core.has_distinct(counts, weights, limit)
    return group(counts, weights, loss)[1].size >= limit


def _what(counts: FloatArray, weights: FloatArray, loss: Loss, method: str) -> str:
    """What a solve needs memory for, told where it runs out."""
    clusters = group(counts, weights, loss)[1].size
    return (
        f"solving {counts.size} classes with {clusters} different counts by method '{method}' "
        f"{several_arrays(clusters, clusters)}"
    )


def check_continuum(method: str, loss: Loss) -> None:
    """Refuse the continuum method for losses that it does not know."""
    if method == "continuum" and not loss.is_weighted_cross_entropy:
        raise ValueError(
            "method 'continuum' knows plain and weighted cross-entropy only, "
            f"got loss = {loss!r}; use 'auto', 'factored' or 'proximal'"
        )


def _starting_point(
    start: Solution, counts: FloatArray, weights: FloatArray, loss: Loss
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """M, scaled bias and threshold ratios of a solution, M carried over to these counts."""
    if not isinstance(start, Solution):
        raise TypeError(f"start must be a Solution or None, got {start!r:.80}")
    if not start.loss.has_same_shape(loss):
        raise ValueError(
            "start must have the same smoothing, scales and offsets: it has "
            f"{start.loss.describe()}, the problem has {loss.describe()}"
        )
    cluster_of, count, _, _ = group(counts, weights, loss)
    if not np.array_equal(cluster_of, start.cluster_of):
        raise ValueError(
            f"start must group the classes into the same clusters: it has {start.num_classes} "
            f"classes in {start.num_clusters} clusters, the problem has {counts.size} in "
            f"{count.size}"
        )
    if count.size > _core.dense_limit:
        return None  # solved by the nodes of the counts, which need no start
    same_z = start.between.dense() * np.sqrt(count / start.cluster_count)  # M = Z D^(1/2)
    shape = start.loss.cluster_arguments(start.representatives)
    ratio = start.lambda_z * np.sqrt(start.cluster_count) / start.cluster_loss_weight
    return same_z, start.scaled_bias, ratio / shape["scale"] + shape["smoothing"]


def solve(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    *,
    tol: float = 1e-6,
    method: str = "auto",
    class_weights: ArrayLike | None = None,
    loss: Loss | None = None,
    max_iterations: int | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    start: Solution | None = None,
    progress: Callable[[int, float, float], Any] | None = None,
) -> Solution:
    """Solve the unconstrained feature model with a certificate of optimality.

    Minimises, over the mean prediction matrix Z (K, K) and the bias b (K,),

        sum_k pi_k CE(z_k + b, e_k) + lambda_z ||Z D^(1/2)||_* + (lambda_b / 2) ||b||^2

    with D = diag(counts), N = sum(counts), pi_k = class_weights[k] * counts[k] / N and z_k the
    k-th **column** of Z; `loss` puts another loss in the place of CE. Classes that are alike are
    grouped exactly first, so that the cost depends on the number of different counts, not on K.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive, integer or real.
    lambda_z : float
        Weight of the nuclear norm, sqrt(lambda_W lambda_H); positive.
    lambda_b : float
        Weight of the bias penalty; positive, ``0`` for an unregularised bias (the one with zero
        mean is returned) or ``float("inf")`` for no bias.
    tol : float
        Relative duality gap (primal - dual) / primal of the exact K-class problem at which the
        solve counts as converged.
    method : {"auto", "continuum", "factored", "proximal"}
        "factored" is a trust-region Newton method on Z D^(1/2) = U V^T; "continuum" solves a few
        Gauss nodes of the counts, interpolates, certifies the exact problem and refines, with
        "factored" to finish where that does not reach `tol`; "proximal" is accelerated proximal
        gradient with singular-value thresholding; "auto" is "continuum" from 128 different counts
        on and "factored" below, and solves one equation in one unknown where there are two.
        With a `loss` beyond class weights "auto" is "factored" and "continuum" is refused.
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given (not normalised).
    loss : Loss, optional
        Smoothed labels, scaled and shifted logits (:mod:`ufm.losses`); plain cross-entropy by
        default. Z and b are before scales and offsets. Classes are alike if their scales and
        offsets are equal too. An unregularised bias (`lambda_b` = 0) is the one of least norm.
    max_iterations : int, optional
        Limit on the iterations; the default depends on the method.
    threads : int, optional
        Threads of the linear algebra during the call. By default problems that gain nothing from
        more (small ones, and those solved by nodes) use one, others what the BLAS library is set
        to. The setting is the process's: solves in other threads that need another number wait for
        this one, so that each gives the same bits as alone (for a minute at the most, which counts
        towards their time limits).
    time_limit : float, optional
        Seconds after which the best iterate so far is certified and returned. The certificate,
        some products and factorisations of C x C matrices for C different counts, comes on top.
    start : Solution, optional
        The solution for a lambda or counts near by, to start from; it must group the classes into
        the same clusters and have the same smoothing, scales and offsets. "proximal" then takes 20
        to 80 % of its iterations; "factored" hardly gains, since its own start is as good, and
        methods that do not iterate over the whole problem have no use for it. The result is
        certified like any other.
    progress : callable, optional
        Called as ``progress(iteration, objective, relative_gap)`` at most ten times a second,
        with a NaN gap where none was computed. A true return value ends the solve with status
        ``INTERRUPTED``; an exception propagates.

    Returns
    -------
    Solution
        The solution and its certificate. A solve that did not reach `tol` says so in ``status``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.
    MemoryError
        If the memory, or the process's limit of it, does not suffice; the message says for what.
    KeyboardInterrupt
        On Ctrl-C, within a fraction of a second. A singular value decomposition at hand is left
        behind; a process that ends meanwhile waits for it, seconds from a thousand different
        counts on.

    Notes
    -----
    The model and its convex form are those of Hong and Ling, arXiv 2309.09725.

    Examples
    --------
    >>> import ufm
    >>> solution = ufm.solve([500] * 5 + [100] * 5, lambda_z=0.0051, lambda_b=0.02)
    >>> solution.status.name, int(solution.collapsed.sum())
    ('CONVERGED', 5)
    """
    counts = check_counts(counts)
    loss, weights = check_loss(loss, class_weights, counts)
    lambda_z = check_positive("lambda_z", lambda_z)
    lambda_b = check_lambda_b(lambda_b)
    tol = check_positive("tol", tol)
    method = check_choice("method", method, METHODS)
    check_continuum(method, loss)
    limit = check_limit("max_iterations", max_iterations)
    threads = check_limit("threads", threads)
    seconds = math.inf if time_limit is None else check_positive("time_limit", time_limit)
    core_weights = _EMPTY if weights is None else weights
    nearby = None if start is None else _starting_point(start, counts, core_weights, loss)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None, got {progress!r:.80}")

    began = time.perf_counter()
    limited = _UNLIMITED  # as long as no BLAS is used
    if _has_distinct(counts, core_weights, loss, _core.lapack_crossover):
        ensure_lapack()
        if threads is None and _is_too_small_for_threads(counts, core_weights, method, loss):
            threads = 1
        limited = limited_threads(threads, patience=0.5 * seconds)
    try:
        with limited:
            found = _core.solve(
                counts,
                weights,
                lambda_z,
                lambda_b,
                loss.scales if loss.has_scales else None,
                loss.offsets if loss.has_offsets else None,
                loss.smoothing,
                tol,
                method,
                limit or 0,
                seconds - (time.perf_counter() - began),
                nearby,
                progress,
            )
    except MemoryError as error:
        raise memory_error(error, _what(counts, core_weights, loss, method)) from None
    structured, m = found.pop("structured"), found.pop("m")
    found["status"] = Status[found["status"]]
    return Solution._made_of(
        found,
        counts=counts,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        class_weights=weights,
        tol=tol,
        between=DenseBetween(m) if structured is None else StructuredBetween(*structured),
        seconds=time.perf_counter() - began,
        linear_algebra=backend_name(found["cluster_count"].size),
        loss=loss,
    )
