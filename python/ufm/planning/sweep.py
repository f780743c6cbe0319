"""Solving every combination of parameters: :func:`sweep`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._version import __version__
from ufm.planning._loss_axis import LossArgument
from ufm.planning.chunk import Arrays, Options
from ufm.planning.dataset import build
from ufm.planning.executors import Pool, WorkersLostError, run_chunks
from ufm.planning.grid import Grid, make_grid
from ufm.planning.progress import Progress, Report
from ufm.planning.store import Store, ranges, require_xarray
from ufm.problem import check_limit, check_positive

if TYPE_CHECKING:
    import xarray as xr

_FORMAT = "1"


def sweep(
    counts: ArrayLike | Iterable[ArrayLike] | Mapping[str, ArrayLike],
    *,
    lambda_z: ArrayLike | None = None,
    lambda_b: ArrayLike,
    relative_lambda_z: ArrayLike | None = None,
    ratio: ArrayLike | None = None,
    class_weights: ArrayLike | Iterable[ArrayLike] | Mapping[str, ArrayLike] | None = None,
    loss: LossArgument = None,
    executor: Executor | Callable[[], Executor] | int | Any | None = None,
    store: str | os.PathLike[str] | None = None,
    tol: float = 1e-6,
    max_iterations: int | None = None,
    per_cluster: bool = True,
    seconds: bool = False,
    threads: int | None = None,
    chunk_size: int | None = None,
    progress: Report | bool | None = None,
) -> xr.Dataset:
    """Solve every combination of parameters, on any executor, into a labelled dataset.

    An argument that holds several values becomes a dimension of the result, in the order counts,
    class_weights, loss, ratio, lambda_b, lambda_z. All quantities are dimensionless.

    Parameters
    ----------
    counts : array_like of shape (K,), or list or dict of them
        Samples per class. Several vectors, which may differ in K, make the dimension ``counts``,
        labelled by the keys of the dict or by position.
    lambda_z : float or array_like
        Weight of the nuclear norm.
    lambda_b : float or array_like
        Weight of the bias penalty; infinity for no bias, 0 for a bias without penalty.
    relative_lambda_z : float or array_like, optional
        Instead of ``lambda_z``: its multiples of sqrt(min n) / N, where the smallest classes
        merge.
    ratio : float or array_like, optional
        Brings the counts to this ratio of largest to smallest, at least 1. The smallest stay as
        they are and logarithms of counts keep their proportions, so that two clusters have
        n_A = ratio * n_B.
    class_weights : array_like of shape (K,), or list or dict of them, optional
        Loss weight per class; None in a list or dict stands for weights of 1.
    loss : Loss, callable or dict of them, optional
        Smoothed labels, scaled and shifted logits, class weights (:mod:`ufm.losses`). A function
        takes the counts of a problem, brought to its ratio, and makes a loss of them, such as
        ``ufm.losses.logit_adjustment`` itself. A dict makes the dimension ``loss``, labelled by its
        keys; None in it stands for plain cross-entropy.
    executor : optional
        Where to solve: by default the threads of this process. An int for that many worker
        processes, any `concurrent.futures.Executor`, a `dask.distributed.Client`, or a function
        that makes an executor, which is called again if its workers die.
    store : path, optional
        Dataset to write, ``.nc`` (netCDF) or ``.zarr``. Finished parts are kept beside it from
        the start: the same call continues where an earlier one ended, however it ended, with the
        same result, and one whose sweep is complete is read back.
    tol : float
        Relative duality gap at which a solve counts as converged.
    max_iterations : int, optional
        Limit on the iterations of each solve.
    per_cluster : bool
        Whether to keep own-class entries, biases and amplitudes of every cluster (classes with
        equal counts and weights in all problems), where all problems have the same K.
    seconds : bool
        Whether to keep the wall time of each solve, the only result that differs between runs.
    threads : int, optional
        Threads of each worker; by default 1 with an executor, else one per CPU. They do not
        change the result.
    chunk_size : int, optional
        Problems that are solved and kept together, by default about two seconds of work. It does
        not change the result. A store keeps the size that it was begun with.
    progress : callable or bool, optional
        Called with the numbers of finished and of all problems; first with what the store held,
        if anything. By default a line on stderr, if
        that is a terminal.

    Returns
    -------
    xarray.Dataset
        ``objective``, ``dual_objective``, ``relative_gap``, ``status`` (flag values and meanings
        in its attributes), ``rank``, ``collapsed_classes``, ``iterations``, and per cluster
        ``own_logit``, ``bias``, ``amplitude``, ``collapsed`` and ``collapse_threshold``. Units
        and descriptions are in the attributes of each, version and tolerance in those of the
        dataset.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed, or the store holds another sweep.
    ImportError
        If xarray or the library of the store's format is missing (extra ``sweep``).
    ufm.planning.executors.WorkersLostError
        If workers die and cannot be replaced, or again and again with the same problems.
    KeyboardInterrupt
        On Ctrl-C; finished parts are in the store.

    Notes
    -----
    Write ``grid["rank"]`` and ``grid["count"]``: as attributes these names are xarray's methods.

    With a number of processes, a script needs the usual ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import numpy as np
    >>> import ufm
    >>> grid = ufm.sweep(
    ...     [500] * 5 + [100] * 5, lambda_z=[0.0027, 0.0051, 0.0075], lambda_b=[0.02, 0.1]
    ... )
    >>> dict(grid.sizes)
    {'lambda_b': 2, 'lambda_z': 3, 'cluster': 2, 'class': 10}
    >>> grid["rank"].sel(lambda_b=0.02).values.tolist()
    [9, 4, 0]
    """
    grid = make_grid(counts, lambda_z, relative_lambda_z, lambda_b, ratio, class_weights, loss)
    return run(
        grid,
        executor,
        store=store,
        tol=tol,
        max_iterations=max_iterations,
        per_cluster=per_cluster,
        seconds=seconds,
        threads=threads,
        chunk_size=chunk_size,
        progress=progress,
    )


def run(
    grid: Grid,
    executor: Any,
    *,
    store: str | os.PathLike[str] | None,
    tol: float,
    max_iterations: int | None,
    per_cluster: bool,
    seconds: bool,
    threads: int | None,
    chunk_size: int | None,
    progress: Report | bool | None,
    finish: Callable[[xr.Dataset], xr.Dataset] | None = None,
) -> xr.Dataset:
    """Solve a grid, as :func:`sweep` does; ``finish`` may add to the dataset before it is kept."""
    threads = check_limit("threads", threads)
    pool = Pool(executor)
    options = Options(
        tol=check_positive("tol", tol),
        max_iterations=check_limit("max_iterations", max_iterations),
        threads=threads if threads is not None or pool.is_this_process else 1,
        per_cluster=_check_bool("per_cluster", per_cluster),
        seconds=_check_bool("seconds", seconds),
    )
    chunk_size = check_limit("chunk_size", chunk_size) or grid.chunk_size()
    shown = Progress(grid.size, progress)
    require_xarray()
    identity = _identity(grid, options) | {"kind": finish.__name__ if finish else "sweep"}

    def dataset_of(arrays: Arrays) -> xr.Dataset:
        dataset = build(grid, options, arrays, identity)
        return dataset if finish is None else finish(dataset)

    if store is None:
        try:
            arrays = _solve(grid, options, pool, ranges(grid.size, chunk_size), None, shown)
        finally:
            shown.close()
        return dataset_of(arrays)
    with Store(store, identity) as kept:
        dataset = kept.load()
        if dataset is not None:
            return dataset
        chunks = kept.open(grid.size, chunk_size)
        try:
            arrays = _solve(grid, options, pool, chunks, kept, shown)
        except WorkersLostError as error:
            raise WorkersLostError(f"{error}; what was finished is in '{kept.partial}'") from error
        finally:
            shown.close()
        dataset = dataset_of(arrays)
        kept.finish(dataset)
    return dataset


def _check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r:.80}")
    return bool(value)


def _identity(grid: Grid, options: Options) -> dict[str, str]:
    """All that the values depend on."""
    return {
        **grid.identity(),
        "tol": repr(options.tol),
        "max_iterations": repr(options.max_iterations),
        "per_cluster": repr(options.per_cluster),
        "seconds": repr(options.seconds),
        "ufm": __version__,
        "format": _FORMAT,
    }


def _solve(
    grid: Grid,
    options: Options,
    pool: Pool,
    chunks: list[tuple[int, int]],
    store: Store | None,
    progress: Progress,
) -> Arrays:
    """All results, with one entry per problem."""
    whole: Arrays = {}

    def place(index: int, arrays: Arrays) -> None:
        start, stop = chunks[index]
        for name, values in arrays.items():
            if name not in whole:
                whole[name] = np.empty((grid.size, *values.shape[1:]), dtype=values.dtype)
            whole[name][start:stop] = values

    def keep(index: int, arrays: Arrays) -> None:
        if store is not None:
            store.write_chunk(index, arrays)
        place(index, arrays)
        progress.update(chunks[index][1] - chunks[index][0])

    missing, found = [], 0
    for index, (start, stop) in enumerate(chunks):
        arrays = None if store is None else store.read_chunk(index)
        if arrays is None:
            missing.append(index)
        else:
            place(index, arrays)
            found += stop - start
    if found:
        progress.update(found, from_store=True)
    run_chunks(missing, lambda index: grid.chunk(*chunks[index], options), pool, keep)
    return whole
