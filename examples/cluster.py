# %% [markdown]
# # A sweep on a cluster, interrupted and resumed
#
# Thousands of problems over r = n_A / n_B, lambda_z and lambda_b, on worker processes or on a
# dask cluster, into one labelled netCDF file. The sweep is stopped half-way and continued from its
# store.
#
#     python examples/cluster.py [FOLDER]                          two worker processes
#     python examples/cluster.py [FOLDER] --dask local             a dask cluster on this machine
#     python examples/cluster.py [FOLDER] --dask tcp://HOST:8786   your cluster's scheduler
#
# Needs pip install "ufm[plot,sweep]", and "ufm[dask]" for the other two. Takes some ten seconds.
#
# Worker processes import this file, so that what it does stands in functions: in a notebook, run
# the cells and call main([]) in the last one.

# %%
import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import ufm
from ufm import figures

CLASSES_A = CLASSES_B = 5
COUNTS = [500] * CLASSES_A + [100] * CLASSES_B  # `ratio` below replaces the 500
GRID = {
    "ratio": np.geomspace(1.05, 100, 60),
    "lambda_z": np.geomspace(1e-4, 1.6e-2, 60),
    "lambda_b": [0.002, 0.02, 0.2],
}


# %% [markdown]
# ## Where to run
# `executor` takes a number of processes, any concurrent.futures.Executor, or a dask client. The
# rest of the script is the same for all.


# %%
@contextmanager
def executor_for(dask):
    """A pool of two processes, or a client of a cluster; closed at the end."""
    if dask is None:
        # A forked copy of a process with threads may hang; a spawned one starts afresh.
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool
        return
    from dask.distributed import Client, LocalCluster

    if dask != "local":
        with Client(dask) as client:
            yield client
        return
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


# %% [markdown]
# ## Stopped half-way, then continued
# Finished parts are kept beside the store. However a run ends, the same call continues it. Here
# the progress callback raises; Ctrl-C, a killed worker or a lost connection do no more harm.


# %%
class HalfWay(Exception):
    pass


def stop_half_way(done, total):
    if done >= total / 2:
        raise HalfWay(f"{done} of {total} problems done")


def run_sweep(executor, store):
    options = {**GRID, "executor": executor, "store": store, "chunk_size": 900}
    if not store.exists():
        try:
            ufm.sweep(COUNTS, **options, progress=stop_half_way)
        except HalfWay as stop:
            print(f"stopped: {stop}")
    return ufm.sweep(COUNTS, **options)


# %% [markdown]
# ## What came out
# Names, units and the certificate are in the dataset; xarray selects by value.


# %%
def report(grid):
    print(f"{grid.sizes['lambda_b']} x {grid.sizes['lambda_z']} x {grid.sizes['ratio']} problems")
    print(f"largest relative duality gap: {float(grid['relative_gap'].max()):.1e}")
    print(f"all converged: {bool((grid['status'] == 0).all())}")
    print("problems by what became of the minority:")
    for lambda_b in grid["lambda_b"].values:
        found = regions(grid.sel(lambda_b=lambda_b))
        shares = " ".join(f"{np.mean(found == i):6.1%}" for i in range(4))
        print(f"  lambda_b = {lambda_b:<6g} separate, merged, at zero, all at zero: {shares}")


def regions(grid):
    """0 separate, 1 merged, 2 at zero, 3 all at zero; shape (lambda_z, ratio)."""
    grid = grid.transpose("lambda_z", "ratio", ...)
    rank, merged = grid["rank"].values, grid["collapsed_classes"].values > 0
    # A merged minority leaves rank k_A - 1 inside A, and one more where A and B differ.
    return np.where(~merged, 0, np.where(rank >= CLASSES_A, 1, np.where(rank > 0, 2, 3)))


def draw(grid, lambda_b, path):
    part = grid.sel(lambda_b=lambda_b)
    total = COUNTS[-1] * (CLASSES_A * part["ratio"].values + CLASSES_B)
    curves = {
        "minority_collapse": np.sqrt(COUNTS[-1]) / total,
        "majority_collapse": np.sqrt(COUNTS[-1] * part["ratio"].values) / total,
    }
    title = f"five classes of $n_A$, five of {COUNTS[-1]}, $\\lambda_b$ = {lambda_b:g}"
    picture = figures.phase_map(
        part["ratio"].values, part["lambda_z"].values, regions(part), curves, title=title
    )
    print(f"picture: {figures.save(picture, path)}")


# %%
def main(words=None):
    parser = argparse.ArgumentParser(description="A sweep on a cluster, interrupted and resumed.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("ufm-examples"))
    parser.add_argument("--dask", metavar="ADDRESS", help="'local', or a scheduler's address")
    arguments = parser.parse_args(words)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    store = arguments.folder / "cluster.nc"
    with executor_for(arguments.dask) as executor:
        grid = run_sweep(executor, store)
    report(grid)
    in_one_go = ufm.sweep(COUNTS, **GRID)
    same = all(np.array_equal(in_one_go[name], grid[name]) for name in in_one_go.data_vars)
    print(f"{store}: {'the same as' if same else 'DIFFERENT from'} a sweep here in one go")
    draw(grid, 0.02, arguments.folder / "cluster.png")


if __name__ == "__main__":
    main()
