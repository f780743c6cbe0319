"""Solving many problems at once: :func:`solve_many` and its :class:`Batch`."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm import _core
from ufm._batch_losses import PLAIN_ARGUMENTS, Losses, check_all
from ufm._between import unpack_point
from ufm._html import Shown
from ufm._linalg import backend_name, ensure_lapack, limited_threads
from ufm._loss import PLAIN, Loss, group
from ufm._memory import explained_memory
from ufm._rows import IntArray, Problems, Rows
from ufm._workers import batch_threads
from ufm.problem import FloatArray, check_limit, check_positive
from ufm.solution import BoolArray, Solution, Status

# The order is that of the core's codes.
_STATUSES = (
    Status.CONVERGED,
    Status.MAX_ITERATIONS,
    Status.TIME_LIMIT,
    Status.INTERRUPTED,
    Status.NUMERICAL_ERROR,
)
_NO_VALUES: FloatArray = np.empty(0)
_NO_INDICES: IntArray = np.empty(0, dtype=np.int64)


def solve_many(
    counts: ArrayLike | Iterable[ArrayLike],
    lambda_z: ArrayLike,
    lambda_b: ArrayLike,
    *,
    tol: float = 1e-6,
    class_weights: ArrayLike | Iterable[ArrayLike] | None = None,
    loss: Loss | Iterable[Loss | None] | None = None,
    max_iterations: int | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
) -> Batch:
    """Solve many independent problems at once, each as :func:`ufm.solve` would.

    The problems are shared among threads, outside Python's global lock. Those with one or two
    different counts take a few microseconds each where the loss is plain or weighted cross-entropy.

    Parameters
    ----------
    counts : array_like of shape (M, K) or (K,), or sequence of M array_like
        Samples per class of each problem, in rows that may differ in length. A single row of
        shape (K,) is shared by all problems.
    lambda_z, lambda_b : float or array_like of shape (M,)
        Weights of the nuclear norm and of the bias penalty, as in :func:`ufm.solve`. The rows of
        counts and weights and both lambdas are broadcast against each other.
    tol : float
        Relative duality gap at which a solve counts as converged.
    class_weights : array_like of shape (M, K) or (K,), or sequence of M array_like, optional
        Loss weight per class.
    loss : Loss or sequence of M Loss or None, optional
        Smoothed labels, scaled and shifted logits, class weights (:mod:`ufm.losses`): one loss for
        all problems, or one for each, where None stands for plain cross-entropy.
    max_iterations : int, optional
        Limit on the iterations of each solve.
    threads : int, optional
        Number of threads; by default one for each CPU that this process may use and no other
        batch in it does, within what ``threadpoolctl.threadpool_limits`` allows. The results are
        the same for any number.
    time_limit : float, optional
        Seconds for the whole batch. Solves that are under way then end with their best iterate;
        problems that were not started report Z = 0, b = 0 and the dual value 0. Both have status
        ``TIME_LIMIT``.

    Returns
    -------
    Batch
        Arrays of length M, and the M solutions by index.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it and the problem's index.
    MemoryError
        If the memory, or the process's limit of it, does not suffice; the message says for what.
    KeyboardInterrupt
        On Ctrl-C, within a fraction of a second.

    Notes
    -----
    With two clusters the problem is reduced to one equation in one unknown (derived); with one
    cluster the solution is the closed form of Hong and Ling, arXiv 2309.09725. All other problems
    run the method that :func:`ufm.solve` chooses. No problem starts from the solution of another,
    so that each result depends on its own problem alone.

    Examples
    --------
    >>> import numpy as np
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> batch = ufm.solve_many(counts, np.geomspace(0.001, 0.01, 50), 0.02)
    >>> len(batch), bool(batch.converged.all()), batch.rank[[0, 28, 40, 49]].tolist()
    (50, True, [9, 5, 4, 0])
    >>> int(batch[28].collapsed.sum())
    5
    """
    tol = check_positive("tol", tol)
    limit = check_limit("max_iterations", max_iterations)
    threads = check_limit("threads", threads)
    seconds = math.inf if time_limit is None else check_positive("time_limit", time_limit)
    with explained_memory("the counts and lambdas of all problems are copied"):
        problems, losses = check_all(counts, lambda_z, lambda_b, class_weights, loss)

    begin = time.perf_counter()
    rows, weights = problems.counts, problems.weights
    arrays = (
        rows.values,
        rows.start,
        rows.length,
        weights.values if weights is not None else _NO_VALUES,
        weights.start if weights is not None else _NO_INDICES,
    )
    longest = int(rows.length.max(initial=0))
    large = _core.any_row_has_distinct(*arrays, _core.lapack_crossover) or (
        losses is not None and losses.have_shape and longest >= _core.lapack_crossover
    )
    if large:
        ensure_lapack()
    # One BLAS thread: the workers are the threads, and sums keep their order for any number.
    limited: AbstractContextManager[Any] = (
        limited_threads(1, patience=0.5 * seconds) if large else nullcontext()
    )
    with limited, batch_threads(threads) as workers, explained_memory(_need(problems, workers)):
        fields = _core.solve_many(
            *arrays,
            lambda_z=problems.lambda_z,
            lambda_b=problems.lambda_b,
            **(PLAIN_ARGUMENTS if losses is None else losses.core_arguments(rows.length)),
            tol=tol,
            max_iterations=limit or 0,
            threads=workers,
            time_limit=seconds - (time.perf_counter() - begin),
        )
    return Batch(
        lambda_z=problems.lambda_z,
        lambda_b=problems.lambda_b,
        tol=tol,
        objective=fields["objective"],
        dual_objective=fields["dual_objective"],
        relative_gap=fields["relative_gap"],
        status_code=fields["status"],
        collapsed_classes=fields["collapsed_classes"],
        iterations=fields["iterations"],
        seconds=fields["seconds"],
        wall_seconds=time.perf_counter() - begin,
        _counts=rows,
        _weights=weights,
        _losses=losses,
        _rank=fields["rank"],
        _started=fields["num_clusters"] > 0,
        _num_columns=fields["num_columns"],
        _num_nodes=fields["num_nodes"],
        _method=fields["method"],
        _method_names=tuple(fields["method_names"]),
        _points=fields["points"],
        _point_start=fields["point_start"],
    )


def _need(problems: Problems, workers: int) -> Callable[[], str]:
    """What a batch needs memory for, told where it runs out."""

    def tell() -> str:
        longest = int(problems.counts.length.max(initial=0))
        return (
            f"{len(problems.counts)} problems of up to {longest} classes keep their solutions in "
            f"memory, and {workers} threads work on one each; use fewer threads, or pass the "
            "problems in parts"
        )

    return tell


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Shown, Sequence[Solution]):
    """The solutions of M problems, as arrays and one by one.

    Made by :func:`ufm.solve_many`. ``batch[i]`` is the :class:`ufm.Solution` of problem i; a
    slice, an array of indices or a boolean mask gives the batch of those problems, without
    copying solutions.

    Attributes
    ----------
    lambda_z, lambda_b : ndarray of shape (M,)
        The problems' weights.
    tol : float
        The tolerance asked for.
    objective, dual_objective, relative_gap : ndarray of shape (M,)
        Certificate of each problem, as in :class:`ufm.Solution`.
    status_code : ndarray of shape (M,), int8
        How each solve ended: 0 ``CONVERGED``, 1 ``MAX_ITERATIONS``, 2 ``TIME_LIMIT``,
        3 ``INTERRUPTED``, 4 ``NUMERICAL_ERROR``.
    collapsed_classes : ndarray of shape (M,)
        Number of classes that share their mean prediction with another class of their cluster.
    iterations : ndarray of shape (M,)
        Iterations of the method that ran.
    seconds : ndarray of shape (M,)
        Wall time of each solve.
    wall_seconds : float
        Wall time of the whole batch this one was made in.
    """

    lambda_z: FloatArray
    lambda_b: FloatArray
    tol: float
    objective: FloatArray
    dual_objective: FloatArray
    relative_gap: FloatArray
    status_code: NDArray[np.int8]
    collapsed_classes: IntArray
    iterations: IntArray
    seconds: FloatArray
    wall_seconds: float
    _counts: Rows
    _weights: Rows | None
    _losses: Losses | None
    _rank: IntArray  # -1 where it is computed on demand
    _started: BoolArray
    _num_columns: IntArray  # of a structured M, or -1
    _num_nodes: IntArray
    _method: IntArray
    _method_names: tuple[str, ...]
    _points: FloatArray
    _point_start: IntArray

    # ------------------------------------------------------------------ arrays

    @property
    def converged(self) -> BoolArray:
        """Shape (M,): the certified gap is within the tolerance."""
        converged: BoolArray = self.status_code == 0
        return converged

    @cached_property
    def status(self) -> NDArray[np.object_]:
        """Shape (M,): the :class:`ufm.Status` of each solve."""
        return np.array(_STATUSES, dtype=object)[self.status_code]

    @cached_property
    def method(self) -> NDArray[np.object_]:
        """Shape (M,): name of the method that ran, as in :class:`ufm.Solution`."""
        return np.array(self._method_names, dtype=object)[self._method]

    @property
    def num_classes(self) -> IntArray:
        """Shape (M,): K of each problem."""
        return self._counts.length

    @cached_property
    def rank(self) -> IntArray:
        """Shape (M,): rank of Z."""
        rank = self._rank.copy()
        for index in np.flatnonzero(rank < 0):
            rank[index] = self[int(index)].rank
        return rank

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """The columns of a table with one row per problem."""
        return {
            "K": self.num_classes,
            "lambda_z": self.lambda_z,
            "lambda_b": self.lambda_b,
            "objective": self.objective,
            "dual_objective": self.dual_objective,
            "relative_gap": self.relative_gap,
            "status": np.array([status.name for status in _STATUSES])[self.status_code],
            "rank": self.rank,
            "collapsed_classes": self.collapsed_classes,
            "iterations": self.iterations,
            "seconds": self.seconds,
            "method": self.method,
        }

    # ------------------------------------------------------------------ sequence

    def __len__(self) -> int:
        return int(self.objective.size)

    @overload
    def __getitem__(self, index: int) -> Solution: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Batch: ...

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Solution | Batch:
        if isinstance(index, slice) or np.ndim(index) == 1:
            return self._take(index)
        try:
            position = operator.index(index)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                "a batch is indexed by an integer, a slice, or an array of integers or booleans, "
                f"got {index!r:.80}"
            ) from None
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range for a batch of {size} problems")
        return self._solution(position % size)

    def __repr__(self) -> str:
        size = len(self)
        if not size:
            return "<ufm.Batch: no problems>"
        worst = float(self.relative_gap.max())
        return (
            f"<ufm.Batch: {size} problems, {int(self.converged.sum())} converged, "
            f"largest relative gap {worst:.1e} (tol {self.tol:.0e}), {self.wall_seconds:.3g} s>"
        )

    # ------------------------------------------------------------------ private

    def _take(self, which: Any) -> Batch:
        if not isinstance(which, slice):
            which = np.asarray(which)
            if which.size == 0:
                which = which.astype(np.int64)
        names = (
            "lambda_z",
            "lambda_b",
            "objective",
            "dual_objective",
            "relative_gap",
            "status_code",
            "collapsed_classes",
            "iterations",
            "seconds",
            "_rank",
            "_started",
            "_num_columns",
            "_num_nodes",
            "_method",
            "_point_start",
        )
        return replace(
            self,
            **{name: getattr(self, name)[which] for name in names},
            _counts=self._counts.take(which),
            _weights=None if self._weights is None else self._weights.take(which),
            _losses=None if self._losses is None else self._losses.take(which),
        )

    def _solution(self, index: int) -> Solution:
        counts = self._counts.row(index).copy()
        # Where the weights are those of losses, a loss without any has ones among them.
        bare = self._losses is not None and self._losses.lack_weights(index)
        weights = None if self._weights is None or bare else self._weights.row(index).copy()
        loss = PLAIN if self._losses is None else self._losses[index]
        cluster_of, cluster_count, loss_weight, multiplicity = group(counts, weights, loss)
        between, scaled_bias, amplitudes = unpack_point(
            self._points if self._started[index] else None,
            int(self._point_start[index]),
            cluster_count.size,
            int(self._num_columns[index]),
        )
        rank = int(self._rank[index])
        return Solution(
            counts=counts,
            lambda_z=float(self.lambda_z[index]),
            lambda_b=float(self.lambda_b[index]),
            class_weights=weights,
            tol=self.tol,
            cluster_of=cluster_of,
            cluster_count=cluster_count,
            cluster_loss_weight=loss_weight,
            multiplicity=multiplicity,
            between=between,
            scaled_bias=scaled_bias,
            amplitudes=amplitudes,
            objective=float(self.objective[index]),
            dual_objective=float(self.dual_objective[index]),
            relative_gap=float(self.relative_gap[index]),
            status=_STATUSES[self.status_code[index]],
            iterations=int(self.iterations[index]),
            seconds=float(self.seconds[index]),
            method=self._method_names[self._method[index]],
            linear_algebra=backend_name(cluster_count.size),
            num_nodes=int(self._num_nodes[index]),
            known_rank=rank if rank >= 0 else None,
            loss=loss,
        )
