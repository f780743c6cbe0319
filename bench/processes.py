"""Starts worker processes, reads their events and ends those that take too long."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
START_LIMIT = 120.0  # seconds for imports and the warm-up
# A single step of a solver cannot be interrupted from inside; it gets this long beyond the limit.
GRACE = 1.25


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT)] + [entry for entry in sys.path if entry])
    return {**os.environ, "PYTHONPATH": path} | {name: str(threads) for name in THREAD_VARIABLES}


def _pump(stream: IO[str], events: queue.Queue[dict[str, Any] | None]) -> None:
    for line in stream:
        events.put(json.loads(line))
    events.put(None)


def _next(events: queue.Queue[dict[str, Any] | None], seconds: float) -> dict[str, Any] | None:
    """Return the next event, None at the end; raise TimeoutError after the given time."""
    try:
        return events.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None


def run_worker(task: dict[str, Any], threads: int, patience: float) -> dict[str, Any]:
    """Run one task in its own process.

    Returns ``events`` (all it reported), ``killed`` (no event came for ``patience`` seconds after
    the start) and ``error`` (the end of its error output if it failed, else empty).
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(task)],
            cwd=ROOT,
            env=_environment(threads),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        pending: queue.Queue[dict[str, Any] | None] = queue.Queue()
        reader = threading.Thread(target=_pump, args=(process.stdout, pending), daemon=True)
        reader.start()
        events: list[dict[str, Any]] = []
        killed = False
        allowed = max(START_LIMIT, patience)
        try:
            while (event := _next(pending, allowed)) is not None:
                events.append(event | {"at": time.perf_counter()})
                allowed = patience
        except TimeoutError:
            killed = True
        finally:
            if killed or sys.exc_info()[0] is not None:
                process.kill()
            process.wait()
            reader.join()
            process.stdout.close()
        log.seek(0)
        error = log.read()[-1500:] if process.returncode and not killed else ""
    return {"events": events, "killed": killed, "error": error}


def call(module: str, function: str, arguments: dict[str, Any], patience: float = 900.0) -> Any:
    """Return what a measuring function of this folder returns, run in its own process.

    It may use all cores. Raises TimeoutError after ``patience`` seconds and RuntimeError, with the
    end of its error output, if it fails.
    """
    task = {"module": module, "function": function, "arguments": arguments}
    outcome = run_worker(task, os.cpu_count() or 1, patience)
    if outcome["killed"]:
        raise TimeoutError(f"{module}.{function} took more than {patience:g} s")
    if outcome["error"] or not outcome["events"]:
        raise RuntimeError(f"{module}.{function} failed:\n{outcome['error']}")
    return outcome["events"][-1]["result"]
