"""Phase diagrams of two clusters: :func:`phase_diagram`."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ufm.planning.grid import make_grid
from ufm.planning.progress import Report
from ufm.planning.sweep import run
from ufm.problem import FloatArray, check_lambda_b, check_limit, check_positive
from ufm.theory.bias_only import bias_only_thresholds

if TYPE_CHECKING:
    import xarray as xr

PHASES = ("distinct", "minority_merged", "minority_by_bias_alone", "zero")


def phase_diagram(
    majority_classes: int,
    minority_classes: int,
    minority_count: float,
    *,
    ratio: ArrayLike,
    lambda_z: ArrayLike | None = None,
    relative_lambda_z: ArrayLike | None = None,
    lambda_b: float,
    executor: Any = None,
    store: str | os.PathLike[str] | None = None,
    tol: float = 1e-6,
    threads: int | None = None,
    progress: Report | bool | None = None,
) -> xr.Dataset:
    """Solve two clusters over lambda_z and the ratio of their counts, with every threshold.

    There are k_A majority classes of ``ratio * minority_count`` samples and k_B minority classes
    of ``minority_count``. All quantities are dimensionless.

    Parameters
    ----------
    majority_classes, minority_classes : int
        k_A and k_B.
    minority_count : float
        n_B.
    ratio : array_like of shape (R,)
        n_A / n_B, at least 1.
    lambda_z, relative_lambda_z : array_like of shape (L,)
        Weights of the nuclear norm, or their multiples of sqrt(n_B) / N.
    lambda_b : float
        Weight of the bias penalty.
    executor, store, tol, threads, progress
        As in :func:`ufm.sweep`.

    Returns
    -------
    xarray.Dataset
        That of :func:`ufm.sweep` with dimensions ratio and lambda_z (cluster 0: majority,
        1: minority), and

        - ``phase`` (R, L): 0 all classes distinct, 1 the minority classes share one mean
          prediction, 2 that prediction is zero, so that the bias alone predicts them, 3 Z = 0;
        - ``minority_collapse``, ``majority_collapse`` (R,): sqrt(n) / N, NaN for a single class
          (Hong and Ling, arXiv 2309.09725);
        - ``bias_only`` (R,): the lambda_z at and above which the minority classes are predicted by
          the bias alone, as in :func:`ufm.bias_only_thresholds` (derived);
        - ``lambda_max`` (R,): Z = 0 at and above it (derived).

    Raises
    ------
    ValueError, TypeError, ImportError
        As in :func:`ufm.sweep`; also if a ratio is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> import ufm
    >>> diagram = ufm.phase_diagram(
    ...     5, 5, 100, ratio=[2, 5, 10], lambda_z=np.geomspace(1e-3, 1e-2, 50), lambda_b=0.02
    ... )
    >>> diagram["minority_collapse"].values.round(6).tolist()
    [0.006667, 0.003333, 0.001818]
    """
    k_a = _check_size("majority_classes", majority_classes)
    k_b = _check_size("minority_classes", minority_classes)
    n_b = check_positive("minority_count", minority_count)
    ratios = _check_values("ratio", ratio)
    if lambda_z is not None:
        _check_values("lambda_z", lambda_z)
    if relative_lambda_z is not None:
        _check_values("relative_lambda_z", relative_lambda_z)
    lambda_b = check_lambda_b(lambda_b)
    counts = np.repeat([2 * n_b, n_b], [k_a, k_b])
    grid = make_grid(counts, lambda_z, relative_lambda_z, lambda_b, ratios, None)

    def phase_diagram(dataset: xr.Dataset) -> xr.Dataset:
        return _with_phases(dataset, k_a, k_b, n_b, lambda_b)

    return run(
        grid,
        executor,
        store=store,
        tol=tol,
        max_iterations=None,
        per_cluster=True,
        seconds=False,
        threads=threads,
        chunk_size=None,
        progress=progress,
        finish=phase_diagram,
    )


def _check_size(name: str, value: Any) -> int:
    number = check_limit(name, value)
    if number is None:
        raise TypeError(f"{name} must be a positive integer, got None")
    return number


def _check_values(name: str, value: Any) -> FloatArray:
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a list of numbers, got {value!r:.80}")
    return np.array([check_positive(name, item) for item in array.tolist()])


def _with_phases(
    dataset: xr.Dataset, k_a: int, k_b: int, n_b: float, lambda_b: float
) -> xr.Dataset:
    ratios = dataset["ratio"].values
    rows = np.stack([np.repeat([ratio * n_b, n_b], [k_a, k_b]) for ratio in ratios])
    total = rows.sum(axis=1)
    found = [bias_only_thresholds(row, lambda_b) for row in rows]
    collapse = [np.sqrt(rows[:, i]) / total for i in (0, -1)]
    majority, minority = (
        values if k > 1 else np.full_like(values, math.nan)
        for values, k in zip(collapse, (k_a, k_b), strict=True)
    )
    # With equal counts there is one cluster only.
    equal = ratios == 1
    majority, minority = (np.where(equal, collapse[0], v) for v in (majority, minority))
    lines = {
        "minority_collapse": (minority, "minority collapse", "the minority classes merge"),
        "majority_collapse": (majority, "majority collapse", "the majority classes merge"),
        "bias_only": (
            np.array([one.clusters[-1].bias_only for one in found]),
            "bias-only threshold",
            "the bias alone predicts the minority classes",
        ),
        "lambda_max": (np.array([one.lambda_max for one in found]), "lambda_max", "Z = 0"),
    }
    dataset = dataset.assign(
        {
            name: ("ratio", values, _text(long_name, f"lambda_z at and above which {text}"))
            for name, (values, long_name, text) in lines.items()
        }
    )
    rank, merged = dataset["rank"].values, dataset["collapsed"].values[..., 1]
    phase = np.select([rank == 0, rank < k_a, merged], [3, 2, 1], 0).astype(np.int8)
    attributes = _text("phase", "what the classes share at the solution")
    attributes["flag_values"] = np.arange(len(PHASES), dtype=np.int8)
    attributes["flag_meanings"] = " ".join(PHASES)
    return dataset.assign(phase=(dataset["rank"].dims, phase, attributes))


def _text(long_name: str, description: str) -> dict[str, Any]:
    return {"long_name": long_name, "description": description, "units": "1"}
