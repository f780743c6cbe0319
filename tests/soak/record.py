"""Counts of what was checked, memory over time, and the summary of both."""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import ufm
from soak.check import Result

_MOST_FAULTS = 50  # kept in full
_SAMPLES = 600
WARM_UP = 0.2  # part of the run that is left out of the slope
LARGEST_GROWTH = 32.0  # MiB from warm-up to the end that still count as flat


def resident() -> float:
    """Resident memory of this process in MiB; NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return math.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def give_freed_memory_back() -> bool:
    """Make the allocator hand freed memory to the system; whether it can be told to.

    glibc learns from large blocks to keep up to 64 MiB of free memory on top of each thread's heap,
    which over a run looks like a leak. Fixed thresholds keep what is resident near what is in use.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    return mallopt is not None and all(
        mallopt(name, 128 * 1024) for name in (trim_threshold, mmap_threshold)
    )


class Recorder:
    """Collects results while a soak runs."""

    def __init__(self, seed: int, limit: float) -> None:
        self.seed, self.limit = seed, limit
        self.interrupted = False
        self.freed_memory_given_back = give_freed_memory_back()
        self._began = time.monotonic()
        self._kinds: dict[str, dict[str, Any]] = {}
        self._faults: list[dict[str, Any]] = []
        self.wrong = 0
        self.checked = 0
        self._memory: list[tuple[float, float]] = []
        self._versions = _versions()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    # ------------------------------------------------------------------ while it runs

    def add(self, result: Result, where: str) -> None:
        """Count a result, and keep it where a claim did not hold."""
        self.checked += 1
        kind = self._kinds.setdefault(
            result.kind,
            {
                "checked": 0,
                "status": Counter(),
                "method": Counter(),
                "proof": Counter(),
                "wrong": 0,
                "most_classes": 0,
                "most_clusters": 0,
                "worst_objective_below": -math.inf,
                "worst_dual_above": -math.inf,
                "largest_converged_gap_over_tol": 0.0,
                "solve_seconds": 0.0,
            },
        )
        kind["checked"] += 1
        kind["status"][result.status] += 1
        kind["method"][result.method] += 1
        kind["proof"][result.proof or "none"] += 1
        kind["most_classes"] = max(kind["most_classes"], result.classes)
        kind["most_clusters"] = max(kind["most_clusters"], result.clusters)
        kind["solve_seconds"] += result.seconds
        if math.isfinite(result.primal) and result.primal > 0:
            below = (result.primal - result.objective) / result.primal
            kind["worst_objective_below"] = max(kind["worst_objective_below"], below)
            if math.isfinite(result.dual):
                above = (result.dual_objective - result.dual) / result.primal
                kind["worst_dual_above"] = max(kind["worst_dual_above"], above)
        if result.status == "CONVERGED":
            ratio = result.relative_gap / result.tol
            kind["largest_converged_gap_over_tol"] = max(
                kind["largest_converged_gap_over_tol"], ratio
            )
        if result.faults:
            kind["wrong"] += 1
            self.wrong += 1
            if len(self._faults) < _MOST_FAULTS:
                self._faults.append({"replay": where, **result.to_dict()})
            print(f"WRONG {where}: {result.faults[0].strip().splitlines()[-1]}", flush=True)

    def sample_memory(self) -> None:
        """Note the resident memory, at most a few times a second."""
        now = self.elapsed()
        if not self._memory or now - self._memory[-1][0] > 0.25:
            self._memory.append((now, resident()))

    def line(self) -> str:
        """Progress in one line."""
        left = max(self.limit - self.elapsed(), 0.0)
        return (
            f"{self.checked:,} checked, {self.wrong} wrong, {resident():.0f} MiB, "
            f"{left / 60:.1f} min left"
        )

    # ------------------------------------------------------------------ at the end

    def summary(self, about: dict[str, str], spent: dict[str, float]) -> dict[str, Any]:
        """Everything as plain values."""
        status: Counter[str] = Counter()
        for name, kind in self._kinds.items():
            status.update(kind["status"])
            kind["about"] = about.get(name, "")
            kind["seconds"] = spent.get(name, 0.0)
        return {
            "seed": self.seed,
            "seconds": self.elapsed(),
            "interrupted": self.interrupted,
            "checked": self.checked,
            "wrong": self.wrong,
            "status": dict(status),
            "kinds": {name: _plain(kind) for name, kind in self._kinds.items()},
            "faults": self._faults,
            "memory": self._memory_record(),
            "versions": self._versions,
        }

    def _memory_record(self) -> dict[str, Any]:
        samples = np.array(self._memory) if self._memory else np.zeros((0, 2))
        late = samples[samples[:, 0] >= WARM_UP * self.elapsed()]
        growth = slope_of(late) * float(np.ptp(late[:, 0])) if len(late) > 9 else 0.0
        step = max(1, len(samples) // _SAMPLES)
        return {
            "start_MiB": float(samples[0, 1]) if len(samples) else math.nan,
            "warm_MiB": float(np.median(late[: len(late) // 10 + 1, 1])) if len(late) else math.nan,
            "end_MiB": float(np.median(late[-(len(late) // 10 + 1) :, 1]))
            if len(late)
            else math.nan,
            "most_MiB": float(samples[:, 1].max()) if len(samples) else math.nan,
            "growth_after_warm_up_MiB": growth,
            "allowed_growth_MiB": LARGEST_GROWTH,
            "freed_memory_given_back": self.freed_memory_given_back,
            "flat": growth <= LARGEST_GROWTH,
            "samples": np.round(samples[::step], 2).tolist(),
        }

    def table(self, summary: dict[str, Any]) -> str:
        """The summary for a terminal."""
        lines = [f"{'kind':14} {'checked':>8} {'converged':>9} {'wrong':>5}  largest"]
        for name, kind in summary["kinds"].items():
            converged = kind["status"].get("CONVERGED", 0)
            lines.append(
                f"{name:14} {kind['checked']:8,} {converged:9,} {kind['wrong']:5}  "
                f"K = {kind['most_classes']:,}, C = {kind['most_clusters']:,}"
            )
        memory = summary["memory"]
        lines.append(
            f"{summary['checked']:,} certificates recomputed in {summary['seconds']:.0f} s, "
            f"{summary['wrong']} wrong; memory {memory['warm_MiB']:.0f} MiB after warm-up, "
            f"trend {memory['growth_after_warm_up_MiB']:+.1f} MiB"
        )
        return "\n".join(lines)

    def write(self, summary: dict[str, Any], path: Path) -> None:
        """The summary as JSON, and the memory curve as a picture beside it."""
        temporary = path.with_name(f".{path.name}.writing")
        temporary.write_text(json.dumps(_finite(summary), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
        from soak.picture import draw

        draw(summary, path.with_suffix(".png"))


def slope_of(samples: np.ndarray) -> float:
    """Slope of memory over time in MiB a second: the median over pairs of samples.

    The median (Theil and Sen) does not follow the few samples that a large problem sticks out of.
    """
    if len(samples) > 400:
        samples = samples[:: len(samples) // 400 + 1]
    time_, memory = samples.T
    first, second = np.triu_indices(len(samples), 1)
    return float(np.median((memory[second] - memory[first]) / (time_[second] - time_[first])))


def _plain(kind: dict[str, Any]) -> dict[str, Any]:
    return {
        name: dict(value)
        if isinstance(value, Counter)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in kind.items()
    }


def _versions() -> dict[str, str]:
    import scipy

    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "ufm": ufm.__version__,
        "commit": commit,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _finite(value: Any) -> Any:
    """A record with numbers that JSON has no form for told as text."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
