"""A sweep as an `xarray.Dataset`: names, units and descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm._version import __version__
from ufm.batch import _STATUSES
from ufm.planning.chunk import Arrays, Options
from ufm.planning.grid import Grid
from ufm.planning.store import IDENTITY

if TYPE_CHECKING:
    import xarray as xr

Variable = tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]

# Name: long name, description.
_VARIABLES = {
    "objective": ("objective", "value of the convex problem at the solution (Z, b)"),
    "dual_objective": ("dual objective", "value of a feasible dual point, a lower bound"),
    "relative_gap": (
        "relative duality gap",
        "(objective - dual_objective) / objective: the certificate of optimality",
    ),
    "status": ("status of the solve", "how the solve ended; converged: relative_gap <= tol"),
    "rank": ("rank of Z", "rank of the mean prediction matrix"),
    "collapsed_classes": (
        "collapsed classes",
        "number of classes that share their mean prediction with another of their size and weight",
    ),
    "iterations": ("iterations", "iterations of the method that ran"),
    "seconds": ("wall time of the solve", "differs from run to run"),
    "own_logit": ("own-class entry of Z", "z_kk, the bias-free logit of a class for itself"),
    "bias": ("bias", "b_k"),
    "amplitude": (
        "within-cluster amplitude",
        "singular value of Z D^(1/2) on differences of classes of the cluster; 0 if collapsed",
    ),
    "collapsed": (
        "collapsed cluster",
        "whether the classes of the cluster share one mean prediction",
    ),
}
_CLUSTER_VARIABLES = ("own_logit", "bias", "amplitude", "collapsed")


def build(grid: Grid, options: Options, arrays: Arrays, identity: Mapping[str, str]) -> xr.Dataset:
    """The dataset of a sweep from arrays with one entry per problem."""
    import xarray as xr

    dims, shape = _pick(grid, grid.names), _pick(grid, grid.shape)
    data: dict[str, Variable] = {}
    for name, values in arrays.items():
        tail = ("cluster",) if name in _CLUSTER_VARIABLES else ()
        long_name, description = _VARIABLES[name]
        attributes = _attributes(long_name, description, "s" if name == "seconds" else "1")
        if name == "status":
            attributes["flag_values"] = np.arange(len(_STATUSES), dtype=np.int8)
            attributes["flag_meanings"] = " ".join(status.name for status in _STATUSES)
        data[name] = ((*dims, *tail), values.reshape((*shape, *values.shape[1:])), attributes)
    if options.per_cluster and grid.cluster_of is not None:
        data["collapse_threshold"] = _collapse_thresholds(grid, grid.cluster_of)
    attributes = {
        "Conventions": "CF-1.11",
        "title": "Sweep of the unconstrained feature model",
        "source": f"ufm {__version__}",
        "references": "W. Hong, S. Ling, arXiv:2309.09725",
        "ufm_version": __version__,
        "tol": options.tol,
        "max_iterations": options.max_iterations or "default",
        IDENTITY: json.dumps(dict(identity)),
    }
    if options.per_cluster and grid.cluster_of is None:
        attributes["comment"] = (
            "no variables per cluster: the problems differ in their number of classes"
        )
    return xr.Dataset(data, coords=_coordinates(grid, options), attrs=attributes)


def _pick(grid: Grid, items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of five items that belong to dimensions of the result."""
    return tuple(item for item, swept in zip(items, grid.swept, strict=True) if swept)


def _attributes(long_name: str, description: str, units: str = "1") -> dict[str, Any]:
    return {"long_name": long_name, "description": description, "units": units}


# ---------------------------------------------------------------------- coordinates


def _coordinates(grid: Grid, options: Options) -> dict[str, Variable]:
    coordinates: dict[str, Variable] = {
        "lambda_b": _number(
            grid.lambda_b.swept,
            "lambda_b",
            grid.lambda_b.values,
            "weight of the bias penalty",
            "inf: no bias; 0: no penalty",
        )
    }
    if grid.ratio is not None:
        coordinates["ratio"] = _number(
            grid.ratio.swept,
            "ratio",
            grid.ratio.values,
            "ratio of largest to smallest count",
            "n_A = ratio * n_B for two clusters; in between, log counts keep their proportions",
        )
    for axis in (grid.counts, grid.class_weights):
        if axis is not None and axis.swept:
            labels = np.arange(len(axis.vectors), dtype=np.int32)
            what = "counts" if axis.name == "counts" else "class weights"
            values = labels if axis.labels is None else np.array(axis.labels, dtype=object)
            text = {"long_name": what, "description": f"which of the given {what}"}
            coordinates[axis.name] = ((axis.name,), values, text)
    coordinates |= _lambda_z(grid)
    if options.per_cluster and grid.cluster_of is not None:
        coordinates |= _clusters(grid, grid.cluster_of)
    return coordinates


def _number(
    swept: bool, name: str, values: NDArray[Any], long_name: str, description: str
) -> Variable:
    attributes = _attributes(long_name, description)
    return ((name,), values, attributes) if swept else ((), values[0], attributes)


def _lambda_z(grid: Grid) -> dict[str, Variable]:
    """lambda_z in both units; the given one is the dimension, the other follows from it."""
    attributes = {
        "lambda_z": _attributes("weight of the nuclear norm", "lambda_z = sqrt(lambda_w lambda_h)"),
        "relative_lambda_z": _attributes(
            "lambda_z over threshold",
            "lambda_z in units of sqrt(min n) / N, the collapse threshold of the smallest classes "
            "of weight 1",
        ),
    }
    units, values = grid.units, grid.lambda_z.values
    # Of the five axes, those that the other of the two depends on.
    depends = (grid.swept[0], False, grid.swept[2], False, grid.swept[4])
    other = units[:, :1, :, None, None] ** (1 if grid.relative else -1) * values
    kept = tuple(i for i in range(5) if depends[i])
    shape = tuple(other.shape[i] for i in kept)
    dims = tuple(grid.names[i] for i in kept)
    given, derived = grid.lambda_z.name, "lambda_z" if grid.relative else "relative_lambda_z"
    own_dims = (given,) if grid.lambda_z.swept else ()
    return {
        given: (own_dims, values if own_dims else values[0], attributes[given]),
        derived: (dims, other.reshape(shape), attributes[derived]),
    }


def _clusters(grid: Grid, cluster_of: NDArray[np.int64]) -> dict[str, Variable]:
    _, first, sizes = np.unique(cluster_of, return_index=True, return_counts=True)
    number = np.arange(sizes.size, dtype=np.int32)
    dims, values = _of_rows(grid, (True, False, True), lambda row: row[0][first])
    coordinates: dict[str, Variable] = {
        "cluster": (
            ("cluster",),
            number,
            _attributes("cluster", "classes with equal counts and weights in every problem"),
        ),
        "multiplicity": (
            ("cluster",),
            sizes.astype(np.int32),
            _attributes("classes in the cluster", "k_i"),
        ),
        "cluster_of": (
            ("class",),
            cluster_of.astype(np.int32),
            _attributes("cluster of each class", "position along the dimension cluster"),
        ),
        "count": (dims, values, _attributes("samples per class of the cluster", "n_i")),
    }
    if grid.class_weights is not None:
        dims, values = _of_rows(
            grid, (False, True, False), lambda row: row[0][:0] if row[1] is None else row[1][first]
        )
        coordinates["class_weight"] = (
            dims,
            values,
            _attributes("loss weight per class of the cluster", "w_i"),
        )
    return coordinates


def _of_rows(
    grid: Grid, depends: tuple[bool, bool, bool], evaluate: Any
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Values per cluster of each combination of counts, class weights and ratio.

    ``depends`` names the axes of the three that matter; those of them that are dimensions are
    kept.
    """
    lengths = tuple(n if used else 1 for n, used in zip(grid.shape[:3], depends, strict=True))
    values = []
    for position in np.ndindex(*lengths):
        values.append(evaluate(grid.row(int(np.ravel_multi_index(position, grid.shape[:3])))))
    kept = [i for i in range(3) if depends[i] and grid.swept[i]]
    shape = (*(lengths[i] for i in kept), values[0].size)
    return (*(grid.names[i] for i in kept), "cluster"), np.array(values).reshape(shape)


def _collapse_thresholds(grid: Grid, cluster_of: NDArray[np.int64]) -> Variable:
    """Threshold w sqrt(n) / N of each cluster; NaN for single classes."""
    first = np.unique(cluster_of, return_index=True)[1]

    def evaluate(row: Any) -> NDArray[np.float64]:
        counts, weights = row
        weight = np.ones_like(counts) if weights is None else weights
        pairs = np.stack([counts, weight])
        _, inverse, number = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        several = number[inverse.reshape(-1)][first] > 1
        threshold: NDArray[np.float64] = np.where(
            several, weight[first] * np.sqrt(counts[first]) / counts.sum(), np.nan
        )
        return threshold

    dims, values = _of_rows(grid, (True, True, True), evaluate)
    text = "lambda_z at and above which the classes of the cluster share one mean prediction"
    return dims, values, _attributes("collapse threshold", text)
