"""Runs as folders: what a run leaves behind, and how to read it."""

from __future__ import annotations

import csv
import io
import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufm._files import read_arrays, read_json_table, read_toml, reading, replacing, write_text
from ufm._version import __version__
from ufm.torch.config import RunConfig, to_toml

CONFIG, STATE, METRICS = "config.toml", "run.json", "metrics.csv"
FINAL, CHECKPOINT, NETWORK = "final.npz", "checkpoint.pt", "network.pt"
# Shapes of the arrays in final.npz: K classes, d features, E measurements.
_SHAPES = {
    "Z": "KK",
    "b": "K",
    "W": "Kd",
    "means": "Kd",
    "within": "K",
    "counts": "K",
    "effective_counts": "K",
    "Z_history": "EKK",
    "b_history": "EK",
    "test_accuracy": "K",
}


@dataclass(frozen=True)
class Run:
    """A run, read from its folder.

    Attributes
    ----------
    folder : pathlib.Path
    config : RunConfig
    state : dict
        ``status`` ("finished", "diverged" or "running"), lambdas, versions, times.
    metrics : dict of str to ndarray
        Columns of ``metrics.csv``, one entry for each measured epoch.
    final : dict of str to ndarray
        Z (K, K), b (K,), W (K, d), means (K, d), within (K,), counts and effective_counts (K,),
        Z_history (E, K, K), b_history (E, K), test_accuracy (K,). Empty while running.
    """

    folder: Path
    config: RunConfig
    state: dict[str, Any]
    metrics: dict[str, NDArray[np.float64]]
    final: dict[str, NDArray[Any]]

    @property
    def status(self) -> str:
        """How it stands: "finished", "diverged" or "running"."""
        return str(self.state["status"])


def load_run(folder: Path | str) -> Run:
    """Read a run's folder.

    Raises
    ------
    FileNotFoundError
        If it is no run's folder.
    ValueError
        If a file in it is damaged.
    """
    folder = Path(folder)
    config = read_config(folder)
    state = load_state(folder)
    metrics = _read_metrics(folder / METRICS)
    final = read_arrays(folder / FINAL) if (folder / FINAL).is_file() else {}
    return Run(folder, config, state, metrics, final)


def check_result(
    run: Run,
    *,
    state: Iterable[str] = (),
    metrics: Iterable[str] = (),
    arrays: Iterable[str] = (),
) -> None:
    """See that a finished run holds what is needed of it.

    Parameters
    ----------
    run : Run
    state : iterable of str
        Numbers that ``run.json`` must hold.
    metrics : iterable of str
        Columns that ``metrics.csv`` must hold.
    arrays : iterable of str
        Arrays that ``final.npz`` must hold. All in it must have their shapes and be finite, but
        for accuracies of what was not tested.

    Raises
    ------
    ValueError
        If something is missing or damaged; the message names the file.
    """
    for name in state:
        value = run.state.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            told = f"holds no '{name}'" if value is None else f"holds '{name}' = {value!r:.40}"
            raise ValueError(f"{run.folder / STATE} is damaged: it {told}, a number is needed")
    for file, held, names in ((METRICS, run.metrics, metrics), (FINAL, run.final, arrays)):
        for name in names:
            if name not in held:
                raise ValueError(f"{run.folder / file} is damaged: it holds no '{name}'")
    sizes: dict[str, int] = {}
    for name, array in run.final.items():
        if name in _SHAPES:
            _check_array(f"{run.folder / FINAL} is damaged: '{name}' in it", name, array, sizes)


def _check_array(what: str, name: str, array: NDArray[Any], sizes: dict[str, int]) -> None:
    """Check shape and values; `sizes` collects what each letter of the shapes stands for."""
    shape = _SHAPES[name]
    if array.ndim != len(shape) or array.dtype.kind not in "iuf":
        raise ValueError(f"{what} is {array.dtype} of shape {array.shape}")
    for letter, size in zip(shape, array.shape, strict=True):
        if size != sizes.setdefault(letter, size) or size == 0:
            raise ValueError(f"{what} has shape {array.shape}, which does not fit the others")
    if name != "test_accuracy" and not np.isfinite(array).all():
        raise ValueError(f"{what} is not finite")


def load_state(folder: Path) -> dict[str, Any]:
    """The contents of a run's ``run.json``: status, lambdas, versions, times.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    state = read_json_table(folder / STATE)
    if not isinstance(state.get("status"), str):
        raise ValueError(f"{folder / STATE} tells no status: it is damaged, or no run's")
    return state


def read_config(folder: Path) -> RunConfig:
    """The configuration in a run's folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    record = read_toml(folder / CONFIG)
    with reading(folder / CONFIG):
        config = RunConfig.from_dict(record)
        missing = _first_missing(config.to_dict(), record)
        if missing:
            # A default in its place could be another run's.
            raise ValueError(f"the key '{missing}' is missing")
        return config


def _first_missing(whole: dict[str, Any], record: dict[str, Any], where: str = "") -> str:
    """The first dotted key of `whole` that `record` lacks; empty if it has all."""
    for key, value in whole.items():
        if key not in record:
            return where + key
        inner = _first_missing(value, record[key], f"{where}{key}.") if type(value) is dict else ""
        if inner:
            return inner
    return ""


def check_config(folder: Path, config: RunConfig) -> None:
    """See that the folder holds a run of this configuration, or none yet.

    Raises
    ------
    ValueError
        If it holds a run of another configuration, or a damaged one.
    """
    if (folder / CONFIG).is_file() and read_config(folder) != config:
        raise ValueError(
            f"folder {folder} holds a run of another configuration; choose another folder"
        )


def is_done(folder: Path) -> bool:
    """Whether the folder holds a run that has come to its end, and its result."""
    try:
        state = load_state(folder)
    except (OSError, ValueError):
        return False
    return state["status"] in ("finished", "diverged") and (folder / FINAL).is_file()


def write_config(folder: Path, config: RunConfig) -> None:
    """Write ``config.toml``."""
    write_text(folder / CONFIG, to_toml(config.to_dict()))


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_text(folder / STATE, json.dumps(state, indent=2) + "\n")


def write_metrics(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write ``metrics.csv``; numbers are written so that they read back exactly."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / METRICS, text.getvalue())


def write_final(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write ``final.npz``."""
    with replacing(folder / FINAL) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    import torch

    return {
        "ufm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "platform": f"{sys.platform} {platform.machine()}",
    }


def _read_metrics(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_file():
        return {}
    with reading(path):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return {}
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
