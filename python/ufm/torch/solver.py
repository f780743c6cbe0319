"""Solving large problems with PyTorch: :func:`solve`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import ArrayLike

from ufm._between import DenseBetween
from ufm.problem import (
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_limit,
    check_positive,
)
from ufm.solution import Solution, Status
from ufm.torch._device import check_device, check_dtype, free_bytes
from ufm.torch._finish import Result, finish
from ufm.torch._loss import BlockLoss
from ufm.torch._minimise import (
    bias_only,
    bytes_needed,
    first_stage,
    minimise,
    zero_iterate,
)
from ufm.torch._monitor import Monitor, StopRequest
from ufm.torch._problem import group


def solve(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    *,
    tol: float = 1e-6,
    class_weights: ArrayLike | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    max_iterations: int | None = None,
    time_limit: float | None = None,
    progress: Callable[[int, float, float], Any] | None = None,
) -> Solution:
    """Solve the unconstrained feature model on a PyTorch device.

    The same problem, the same factored method and the same certificate as :func:`ufm.solve`, for
    problems so large that they want a GPU: tens of thousands of classes that nearly all differ in
    count or weight. Where few counts differ, :func:`ufm.solve` is as good or better.

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
    class_weights : array_like of shape (K,), optional
        Loss weight per class, used as given (not normalised).
    device : str or torch.device, optional
        Where to compute, such as ``"cuda"``; the CPU by default. It must know float64.
    dtype : {torch.float64, torch.float32}, optional
        Precision of the iterations, float64 by default. With float32 the solve starts in float32
        and ends with the point and its gradient in float64 and only the Newton equations in
        float32. The certificate is computed in float64 in any case.
    max_iterations : int, optional
        Limit on the Newton steps, 500 by default.
    time_limit : float, optional
        Seconds after which the best iterate so far is certified and returned.
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
        If the device lacks the memory, before any work.
    KeyboardInterrupt
        On Ctrl-C, after the operation that runs on the device.

    Notes
    -----
    The model and its convex form are those of Hong and Ling, arXiv 2309.09725. Some 17 matrices
    of C x C entries are held, C the number of different pairs of count and weight.

    On the CPU ``torch.set_num_threads`` sets the threads, and results are the same on every run
    with the same number of them. Where a solve of more than 1024 clusters falls short of `tol`,
    ``objective`` is an upper bound of the value at (Z, b), with the factors' penalty in place of
    the nuclear norm; the gap refers to it.

    Examples
    --------
    >>> import ufm.torch
    >>> solution = ufm.torch.solve([500] * 5 + [100] * 5, lambda_z=0.0051, lambda_b=0.02)
    >>> solution.status.name, int(solution.collapsed.sum())
    ('CONVERGED', 5)
    """
    counts = check_counts(counts)
    weights = check_class_weights(class_weights, counts)
    lambda_z = check_positive("lambda_z", lambda_z)
    lambda_b = check_lambda_b(lambda_b)
    tol = check_positive("tol", tol)
    limit = check_limit("max_iterations", max_iterations)
    seconds = math.inf if time_limit is None else check_positive("time_limit", time_limit)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None, got {progress!r:.80}")
    precision = check_dtype(dtype)
    target = check_device(device)

    start = time.perf_counter()
    problem = group(counts, weights, lambda_z, lambda_b)
    _require_memory(problem.size, target, precision)
    monitor = Monitor(progress, seconds)
    # What the caller set for training must not reach in here.
    with torch.no_grad(), torch.autocast(target.type, enabled=False):
        method, core = _solve(BlockLoss(problem, target), precision, tol, limit or 500, monitor)
    return Solution(
        counts=counts,
        lambda_z=lambda_z,
        lambda_b=lambda_b,
        class_weights=weights,
        tol=tol,
        cluster_of=problem.cluster_of,
        cluster_count=problem.count,
        cluster_loss_weight=problem.loss_weight,
        multiplicity=problem.multiplicity,
        between=DenseBetween(core.matrix),
        scaled_bias=core.bias,
        amplitudes=core.amplitudes,
        objective=core.objective,
        dual_objective=core.dual_objective,
        relative_gap=core.relative_gap,
        status=core.status,
        iterations=core.iterations,
        seconds=time.perf_counter() - start,
        method=method,
        linear_algebra=f"torch {target} {str(precision).removeprefix('torch.')}",
    )


def _require_memory(size: int, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse what cannot fit before any work is done."""
    needed = bytes_needed(size, first_stage(dtype))
    free = free_bytes(device)
    if needed > free:
        advice = "; dtype float32 needs half of that" if dtype is torch.float64 else ""
        raise MemoryError(
            f"{size} different pairs of count and weight need some {needed / 2**30:.3g} GiB on "
            f"{device}, which has {free / 2**30:.3g} GiB free{advice}"
        )


def _solve(
    loss: BlockLoss, dtype: torch.dtype, tol: float, max_iterations: int, monitor: Monitor
) -> tuple[str, Result]:
    """Name of the method that ran, and its certified result."""
    method = "closed form"
    bias = loss.zeros()
    try:
        bias, is_zero = bias_only(loss, monitor)
        if is_zero:
            iterate = zero_iterate(loss, bias, Status.NUMERICAL_ERROR)
        else:
            method = "torch factored"
            iterate = minimise(loss, dtype, tol, max_iterations, monitor)
    except StopRequest as stop:
        # Stopped before the method had an iterate of its own: Z = 0 is what there is.
        iterate = zero_iterate(loss, bias, stop.status)
    return method, finish(loss, iterate, tol)
