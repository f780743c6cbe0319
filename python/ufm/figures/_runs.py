"""Trained networks beside the theory: what folders of runs say in numbers (extra ``torch``)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ufm.metrics import block_cosines, cluster_spread
from ufm.problem import FloatArray
from ufm.solution import BoolArray, Solution
from ufm.solver import solve

if TYPE_CHECKING:
    from ufm.torch.run_folder import Run

# Measured collapse: spread at most 2 % of that of all classes, or a thousandth of a logit.
RTOL, ATOL = 0.02, 1e-3
# A class is dead where its mean prediction is shorter than this, in logits.
DEAD = 1e-2
_TOL = 1e-9
_ZERO = 1e-6
_ARRAYS = ("Z", "b", "counts", "effective_counts", "Z_history", "b_history", "test_accuracy")
_KINDS = {"linear": "free", "relu": "nonnegative"}


@dataclass(frozen=True, eq=False)
class RunResult:
    """A finished run and the optimum of its own problem.

    Attributes
    ----------
    run : ufm.torch.Run
        What the run left behind.
    theory : Solution
        Of the run's kind of features: free for linear, nonnegative after a ReLU.
    other : Solution
        Of the other kind.
    """

    run: Run
    theory: Solution
    other: Solution

    @property
    def features(self) -> str:
        """The last features: "linear" or "relu"."""
        return self.run.config.model.features

    @property
    def free(self) -> Solution:
        """The optimum with features of either sign."""
        return self.theory if self.features == "linear" else self.other

    @property
    def nonnegative(self) -> Solution:
        """The optimum with features after a ReLU."""
        return self.other if self.features == "linear" else self.theory

    @property
    def source(self) -> str:
        """The data set."""
        return self.run.config.data.source

    @property
    def variant(self) -> str:
        """What the run's name says besides its data, features, counts, seed and lambda_z.

        Where that is nothing, "plain" for a run without remedies and "remedied" for others.
        """
        bare = "plain" if _remedies(self) == "none" else "remedied"
        return _variant(self.run.config.name, self.source) or bare

    @property
    def counts(self) -> FloatArray:
        """Images of each class, shape (K,)."""
        return np.asarray(self.run.final["counts"], dtype=np.float64)

    @property
    def minority(self) -> BoolArray:
        """Classes of the smallest count, shape (K,)."""
        found: BoolArray = self.counts == self.counts.min()
        return found

    @property
    def epochs(self) -> FloatArray:
        """Epochs of the entries of the histories; iterations of the end phase count as epochs."""
        metrics = self.run.metrics
        found: FloatArray = metrics["epoch"] + metrics["polish_iterations"]
        return found

    def history(self) -> dict[str, FloatArray]:
        """Relative errors at each measurement, by the names of `record`.

        Of Z and of b, raw and centred, in the Frobenius or 2-norm and in the max norm, and of Z
        against the other theory.
        """
        final = self.run.final
        errors = [
            {
                **_errors(Z, b, self.theory),
                **_max_errors(Z, b, self.theory),
                "error_z_other_theory": _relative(Z, self.other.Z),
            }
            for Z, b in zip(final["Z_history"], final["b_history"], strict=True)
        ]
        return {name: np.array([error[name] for error in errors]) for name in errors[0]}

    def record(self, vectors: str = "columns") -> dict[str, Any]:
        """The numbers of the run; lengths and differences in logits.

        Cosines are those of `vectors` of Z, "columns" (mean predictions) or "rows".

        ``dead_classes`` are those whose mean prediction is shorter than 0.01 while theory's is
        longer, ``dead_from`` the epoch of the measurement from which on each stays so, and
        ``merged_from`` that from which on the smallest classes stay merged.
        """
        run, theory, final = self.run, self.theory, self.run.final
        Z, b = final["Z"], final["b"]
        spread = _spread(Z, self.counts)
        wanted = _spread(theory.Z, self.counts)
        predicted = bool(theory.collapsed[self.minority].all())
        dead = self._dead()
        accuracy = np.asarray(final["test_accuracy"], dtype=np.float64)
        return {
            "protocol": run.folder.parent.name,
            "run": run.config.name,
            "features": self.features,
            "variant": self.variant,
            "remedies": _remedies(self),
            "seed": run.config.seed,
            "counts": run.config.data.counts,
            "lambda_z": theory.lambda_z,
            "lambda_z_over_threshold": theory.lambda_z / _threshold(theory, self.minority),
            "theory": _KINDS[self.features],
            "theory_gap": theory.relative_gap,
            **_errors(Z, b, theory),
            **_max_errors(Z, b, theory),
            "error_z_other_theory": _relative(Z, self.other.Z),
            "max_error_z": float(np.abs(Z - theory.Z).max()),
            "max_error_b": float(np.abs(b - theory.b).max()),
            "excess_objective": float(run.metrics["objective"][-1]) - theory.objective,
            "spread": spread.spread,
            "spread_predicted": wanted.spread,
            "collapsed": spread.collapsed,
            "collapsed_predicted": predicted,
            "verdict_right": spread.collapsed == predicted,
            "nc1": float(run.metrics["nc1"][-1]),
            "dead_classes": len(dead),
            "dead_from": ";".join(f"{epoch:g}" for epoch in dead),
            "merged_from": self._merged_from(),
            "train_accuracy": float(run.metrics["accuracy"][-1]),
            "test_accuracy": float(accuracy.mean()),
            "test_accuracy_majority": _mean(accuracy[~self.minority]),
            "test_accuracy_minority": _mean(accuracy[self.minority]),
            **self._cosines(vectors),
            "seconds": float(run.state.get("seconds", math.nan)),
        }

    def _dead(self) -> list[float]:
        """Epochs from which on classes stay dead that theory keeps alive."""
        lengths = np.linalg.norm(self.run.final["Z_history"], axis=1)
        alive = np.linalg.norm(self.theory.Z, axis=0) > DEAD
        found = [_stays(lengths[:, k] < DEAD, self.epochs) for k in np.flatnonzero(alive)]
        return sorted(epoch for epoch in found if not math.isnan(epoch))

    def _merged_from(self) -> float:
        history = self.run.final["Z_history"]
        merged = [bool(_spread(Z, self.counts).collapsed) for Z in history]
        return _stays(np.array(merged), self.epochs)

    def _cosines(self, vectors: str) -> dict[str, float]:
        """Mean cosines inside and between the largest and the smallest classes."""
        found = {}
        for prefix, Z in (("", self.run.final["Z"]), ("predicted_", self.theory.Z)):
            values = cosines(Z, self.counts, vectors)
            for name, value in zip(("a", "b", "ab"), values, strict=True):
                found[f"{prefix}cosine_{name}"] = value
        return found


def cosines(
    Z: FloatArray, counts: FloatArray, vectors: str = "columns"
) -> tuple[float, float, float]:
    """Mean cosines of columns of Z inside the largest, inside the smallest classes and between.

    Or of rows. NaN where a vector is too short to have a direction, or there is no pair.
    """
    Z = Z if vectors == "columns" else Z.T
    if np.linalg.norm(Z, axis=0).min() < DEAD:
        return math.nan, math.nan, math.nan
    sizes, clusters = np.unique(-counts, return_inverse=True)
    mean = block_cosines(Z, clusters.reshape(-1)).mean
    between = float(mean[0, -1]) if len(sizes) > 1 else math.nan
    return float(mean[0, 0]), float(mean[-1, -1]), between


def read_runs(
    folder: str | os.PathLike[str], names: Collection[str] | None = None
) -> list[RunResult]:
    """Read every finished run of a protocol's folder and solve its problem.

    Parameters
    ----------
    folder : str or path-like
        Holds folders of runs, as ``ufm train`` leaves them.
    names : collection of str, optional
        Only runs of these names.

    Returns
    -------
    list of RunResult
        In order of lambda_z, counts and name. Runs that have not come to their end are left out.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it holds no finished run, or a damaged one.
    ImportError
        If PyTorch is missing; the message names the extra.
    """
    from ufm.torch import load_run

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"runs: the folder '{folder}' does not exist")
    folders = [path.parent for path in sorted(folder.glob("*/run.json"))]
    runs = [load_run(path) for path in folders if names is None or path.name in names]
    finished = [run for run in runs if run.status == "finished" and run.final]
    if not finished:
        raise ValueError(f"runs: '{folder}' holds no finished run ({len(runs)} unfinished)")
    results = [_result(run) for run in finished]
    return sorted(
        results,
        key=lambda found: (
            float(found.counts.sum()),
            found.theory.lambda_z,
            found.run.config.name,
        ),
    )


def _result(run: Run) -> RunResult:
    import ufm
    from ufm.torch.run_folder import check_result

    check_result(
        run,
        state=("lambda_z", "lambda_b"),
        metrics=("epoch", "polish_iterations", "objective", "nc1", "accuracy"),
        arrays=_ARRAYS,
    )
    if len(run.final["Z_history"]) != len(run.metrics["epoch"]):
        raise ValueError(f"{run.folder} is damaged: its metrics and histories differ in length")

    counts = np.asarray(run.final["effective_counts"], dtype=np.float64)
    weights = run.config.training.class_weights or None
    lambda_z, lambda_b = float(run.state["lambda_z"]), float(run.state["lambda_b"])
    free = solve(counts, lambda_z, lambda_b, tol=_TOL, class_weights=weights)
    positive = ufm.nonnegative_solution(counts, lambda_z, lambda_b, tol=_TOL, class_weights=weights)
    pair = (free, positive) if run.config.model.features == "linear" else (positive, free)
    return RunResult(run, *pair)


def _errors(Z: FloatArray, b: FloatArray, theory: Solution) -> dict[str, float]:
    """Frobenius errors over the size of theory's; NaN where that is zero."""
    return {
        "error_z": _relative(Z, theory.Z),
        "error_b_centred": _relative(b - b.mean(), theory.b - theory.b.mean()),
        "error_b": _relative(b, theory.b),
    }


def _max_errors(Z: FloatArray, b: FloatArray, theory: Solution) -> dict[str, float]:
    """Largest error of an entry over theory's largest entry; NaN where that is zero."""
    centred, target = b - b.mean(), theory.b - theory.b.mean()
    return {
        "error_z_max_norm": _relative_max(Z, theory.Z),
        "error_b_max_norm": _relative_max(centred, target),
    }


def _relative_max(value: FloatArray, target: FloatArray) -> float:
    size = float(np.abs(target).max())
    return float(np.abs(value - target).max()) / size if size > _ZERO else math.nan


def _relative(value: FloatArray, target: FloatArray) -> float:
    size = float(np.linalg.norm(target))
    return float(np.linalg.norm(value - target)) / size if size > _ZERO else math.nan


def _spread(Z: FloatArray, counts: FloatArray) -> Any:
    """Spread of the smallest classes, the last cluster."""
    return cluster_spread(Z, counts, rtol=RTOL, atol=ATOL)[-1]


def _threshold(theory: Solution, minority: BoolArray) -> float:
    """sqrt(n)/N of the smallest classes with the counts that the loss sees, free features."""
    counts = np.asarray(theory.counts, dtype=np.float64)
    return float(np.sqrt(counts[minority].min()) / counts.sum())


def _stays(holds: BoolArray, epochs: FloatArray) -> float:
    """The first epoch from which on it holds to the end; NaN if it does not in the end."""
    if not holds[-1]:
        return math.nan
    fails = np.flatnonzero(~holds)
    return float(epochs[fails[-1] + 1 if len(fails) else 0])


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _variant(name: str, source: str = "") -> str:
    """What is left of a run's name, such as remedied of remedied_relu_lambda_z=0.0027."""
    name = re.sub(r"lambda_z=[^_]+", "", name)
    parts = [part for part in name.split("_") if part and part not in (*_KINDS, source)]
    kept = [part for part in parts if not re.match(r"\d+x\d|seed=", part)]
    return "_".join(kept)


def _remedies(found: RunResult) -> str:
    """What helped the training, in words that a table can hold."""
    config = found.run.config
    penalty, model, training = config.penalty, config.model, config.training
    parts = {
        f"ramp from {penalty.ramp_start:g} until {penalty.ramp_until:g}": penalty.ramp_until,
        f"slope {model.slope:g} until {model.slope_until:g}": (
            model.slope and model.features == "relu"
        ),
        "centred bias": training.centre_bias,
        f"polish {training.polish}": training.polish,
        "oversampled": bool(training.oversample),
        "class weights": bool(training.class_weights),
    }
    return "; ".join(name for name, used in parts.items() if used) or "none"
