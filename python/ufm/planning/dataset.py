"""A sweep as an `xarray.Dataset`: names, units and descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm._version import __version__
from ufm.batch import _STATUSES
from ufm.planning._loss_axis import keys
from ufm.planning.chunk import Arrays, Options, Row
from ufm.planning.grid import ROW_AXES, Grid
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
    if grid.loss is not None and not grid.loss.swept:
        attributes["loss"] = grid.loss.at(0, grid.row(0)[0]).describe()
    if options.per_cluster and grid.cluster_of is None:
        attributes["comment"] = (
            "no variables per cluster: the problems differ in their number of classes"
        )
    return xr.Dataset(data, coords=_coordinates(grid, options), attrs=attributes)


def _pick(grid: Grid, items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of the items, one an axis, that belong to dimensions of the result."""
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
    for axis in (grid.counts, grid.class_weights, grid.loss):
        if axis is not None and axis.swept:
            labels = np.arange(len(axis), dtype=np.int32)
            what = {"class_weights": "class weights", "loss": "losses"}.get(axis.name, axis.name)
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
    # The other of the two depends on counts, ratio and the given one.
    depends = [
        swept and name in ("counts", "ratio", grid.lambda_z.name)
        for swept, name in zip(grid.swept, grid.names, strict=True)
    ]
    other = units[:, :1, :1, :, None, None] ** (1 if grid.relative else -1) * values
    kept = tuple(i for i, used in enumerate(depends) if used)
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
    dims, values = _of_rows(grid, ("counts", "ratio"), lambda row: row[0][first])
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
            grid, ("class_weights",), lambda row: row[0][:0] if row[1] is None else row[1][first]
        )
        coordinates["class_weight"] = (
            dims,
            values,
            _attributes("loss weight per class of the cluster", "w_i"),
        )
    return coordinates


def _of_rows(
    grid: Grid, depends: tuple[str, ...], evaluate: Callable[[Row], NDArray[Any]]
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Values per cluster of each row of the grid.

    ``depends`` names the axes that matter; those of them that are dimensions are kept.
    """
    shape, names = grid.shape[:ROW_AXES], grid.names[:ROW_AXES]
    lengths = tuple(n if name in depends else 1 for n, name in zip(shape, names, strict=True))
    values = []
    for position in np.ndindex(*lengths):
        values.append(evaluate(grid.row(int(np.ravel_multi_index(position, shape)))))
    kept = [i for i, name in enumerate(names) if name in depends and grid.swept[i]]
    kept_shape = (*(lengths[i] for i in kept), values[0].size)
    return (*(names[i] for i in kept), "cluster"), np.array(values).reshape(kept_shape)


def _collapse_thresholds(grid: Grid, cluster_of: NDArray[np.int64]) -> Variable:
    """Threshold w sqrt(n) / N of each cluster, times what a loss makes of it; NaN if single."""
    first = np.unique(cluster_of, return_index=True)[1]

    def evaluate(row: Row) -> NDArray[np.float64]:
        counts, weights, loss = row
        same = keys(*row)
        _, inverse, number = np.unique(same, axis=1, return_inverse=True, return_counts=True)
        several = number[inverse.reshape(-1)][first] > 1
        threshold = np.sqrt(counts[first]) / counts.sum()
        if loss is not None:
            threshold *= loss.threshold_factors(first)
            weights = weights if loss.class_weights is None else loss.class_weights
        if weights is not None:
            threshold *= weights[first]
        return np.where(several, threshold, np.nan)

    dims, values = _of_rows(grid, grid.names[:ROW_AXES], evaluate)
    text = "lambda_z at and above which the classes of the cluster share one mean prediction"
    return dims, values, _attributes("collapse threshold", text)
