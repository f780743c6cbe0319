"""Part of a sweep: solved in one call by one worker, and brought back as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufm._loss import PLAIN, Loss, group
from ufm._version import __version__
from ufm.batch import Batch, solve_many
from ufm.problem import FloatArray

Arrays = dict[str, NDArray[Any]]
Row = tuple[FloatArray, FloatArray | None, Loss | None]

_MOST_ENTRIES = 1 << 22  # of a matrix of counts: 32 MiB


@dataclass(frozen=True)
class Options:
    """How each problem of a sweep is solved, and what is kept of it."""

    tol: float
    max_iterations: int | None
    threads: int | None
    per_cluster: bool
    seconds: bool


@dataclass(frozen=True)
class Chunk:
    """Consecutive problems of a sweep.

    Attributes
    ----------
    start : int
        Position of the first in the sweep.
    rows : tuple
        Counts, class weights and losses that occur.
    row_of : ndarray of shape (M,)
        Which of them each problem has.
    lambda_z, lambda_b : ndarray of shape (M,)
        The problems' weights.
    classes : ndarray of shape (C,) or None
        A class of each cluster, to be reported on.
    options : Options
        How to solve.
    version : str
        Version of ufm that planned the sweep.
    """

    start: int
    rows: tuple[Row, ...]
    row_of: NDArray[np.int64]
    lambda_z: FloatArray
    lambda_b: FloatArray
    classes: NDArray[np.int64] | None
    options: Options
    version: str = __version__


def solve_chunk(chunk: Chunk) -> Arrays:
    """Solve the problems of a chunk; what workers run.

    Returns
    -------
    dict of ndarray
        One entry per problem along the first axis.

    Raises
    ------
    RuntimeError
        If this process runs another version of ufm than the one that planned the sweep.
    """
    if chunk.version != __version__:
        raise RuntimeError(
            f"the sweep was planned by ufm {chunk.version}, but a worker has ufm {__version__}"
        )
    classes = chunk.rows[0][0].size
    alike = all(row[0].size == classes for row in chunk.rows)
    if alike and chunk.row_of.size * classes <= _MOST_ENTRIES:
        counts = np.stack([row[0] for row in chunk.rows])[chunk.row_of]
        weights = None
        if chunk.rows[0][1] is not None:
            weights = np.stack([row[1] for row in chunk.rows if row[1] is not None])[chunk.row_of]
        losses = [chunk.rows[row][2] for row in chunk.row_of.tolist()]
        loss = losses if any(kind is not None for kind in losses) else None
        return _columns(_solve(chunk, counts, weights, loss, slice(None)), chunk, chunk.row_of)
    parts = []
    for index, (row, row_weights, row_loss) in enumerate(chunk.rows):
        which = chunk.row_of == index
        batch = _solve(chunk, row, row_weights, row_loss, which)
        parts.append(_columns(batch, chunk, chunk.row_of[which]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _solve(
    chunk: Chunk,
    counts: FloatArray,
    weights: FloatArray | None,
    loss: Loss | list[Loss | None] | None,
    which: Any,
) -> Batch:
    options = chunk.options
    return solve_many(
        counts,
        chunk.lambda_z[which],
        chunk.lambda_b[which],
        tol=options.tol,
        class_weights=weights,
        loss=loss,
        max_iterations=options.max_iterations,
        threads=options.threads,
    )


def _columns(batch: Batch, chunk: Chunk, row_of: NDArray[np.int64]) -> Arrays:
    columns: Arrays = {
        "objective": batch.objective,
        "dual_objective": batch.dual_objective,
        "relative_gap": batch.relative_gap,
        "status": batch.status_code.astype(np.int8),
        "rank": batch.rank.astype(np.int32),
        "collapsed_classes": batch.collapsed_classes.astype(np.int32),
        "iterations": batch.iterations.astype(np.int32),
    }
    if chunk.options.seconds:
        columns["seconds"] = batch.seconds
    if chunk.classes is not None:
        columns |= _cluster_columns(batch, chunk, chunk.classes, row_of)
    return columns


def _cluster_columns(
    batch: Batch, chunk: Chunk, classes: NDArray[np.int64], row_of: NDArray[np.int64]
) -> Arrays:
    shape = (len(batch), classes.size)
    columns: Arrays = {
        "own_logit": np.empty(shape),
        "bias": np.empty(shape),
        "amplitude": np.empty(shape),
        "collapsed": np.empty(shape, dtype=np.bool_),
    }
    for index in np.unique(row_of):
        which = np.flatnonzero(row_of == index)
        for name, values in _of_row(batch, which, chunk.rows[index], classes).items():
            columns[name][which] = values
    return columns


def _of_row(batch: Batch, which: NDArray[np.int64], row: Row, classes: NDArray[np.int64]) -> Arrays:
    """Values of some classes in all problems of one row: the formulas of `Solution`, at once."""
    counts, weights, loss = row
    if loss is not None and loss.class_weights is not None:
        weights = loss.class_weights
    cluster_of, count, _, multiplicity = group(counts, weights, PLAIN if loss is None else loss)
    size, cluster = count.size, cluster_of[classes]
    if (batch._num_columns[which] < 0).all() and batch._started[which].all():
        start = batch._point_start[which][:, None]
        points = batch._points
        diagonal = points[start + cluster * (size + 1)]
        scaled_bias = points[start + size * size + cluster]
        amplitude = points[start + size * size + size + cluster]
    else:
        solutions = [batch[int(index)] for index in which]
        diagonal = np.stack([s.between.diagonal()[cluster] for s in solutions])
        scaled_bias = np.stack([s.scaled_bias[cluster] for s in solutions])
        amplitude = np.stack([s.amplitudes[cluster] for s in solutions])
    number, root = multiplicity[cluster], np.sqrt(count[cluster])
    other = diagonal / (number * root) - amplitude / (number * root)
    several = number > 1
    return {
        "own_logit": other + amplitude / root,
        "bias": scaled_bias / np.sqrt(number),
        "amplitude": np.where(several, amplitude, 0.0),
        "collapsed": several & (amplitude == 0),
    }
