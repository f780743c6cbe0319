"""The process of one measurement: reads what to do as JSON, writes events as lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

from bench.cases import TARGETS, Case
from bench.memory import peak_bytes, reset_peak
from bench.peers import PEERS
from bench.recorder import Recorder

WARM_LIMIT = 1.0  # seconds a case
MEMORY_SHARE = 0.7  # of the machine's memory that a worker may use


def measure(
    peer_name: str, case: Case, targets: tuple[float, ...], limit: float, emit: Callable[..., None]
) -> None:
    """Warm the peer up, then run it on the case."""
    peer = PEERS[peer_name]
    run = peer.runner()
    for warm in _warm_cases(case, peer.module.endswith("conic")):
        run(warm, Recorder(warm, (1e-3,), WARM_LIMIT, lambda event: None))
    _warm_judge(case)
    reset_peak()
    emit({"event": "start", "baseline": peak_bytes()})
    recorder = Recorder(case, targets, limit, emit)
    run(case, recorder)
    emit({"event": "end", "elapsed": recorder.elapsed})


def _warm_cases(case: Case, conic: bool) -> list[Case]:
    """Problems that load what the case will need: large ones take other paths than small ones."""
    cases = [Case("distinct", 10, case.factor)]
    if case.size > 10 and not conic:
        cases.append(Case("distinct", 64, case.factor))
    return cases


def _warm_judge(case: Case) -> None:
    """Judge once, so that the judge's lasting memory is part of the baseline."""
    import numpy as np

    size = case.counts.size
    events: list[dict[str, Any]] = []
    recorder = Recorder(case, TARGETS, 0.0, events.append)
    recorder.offer(lambda: (np.zeros((size, size)), np.zeros(size)), final=True)


def call(module: str, function: str, arguments: dict[str, Any]) -> Any:
    """Call a measuring function of this folder."""
    return getattr(import_module(f"bench.{module}"), function)(**arguments)


def _writer(stream: TextIO) -> Callable[[dict[str, Any]], None]:
    def emit(event: dict[str, Any]) -> None:
        stream.write(json.dumps(event) + "\n")
        stream.flush()

    return emit


def _limit_memory() -> None:
    """A solver that wants more memory than there is should fail, not the machine."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit = int(MEMORY_SHARE * physical)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    _limit_memory()
    task = json.loads(sys.argv[1])
    # Solvers may print; only events may reach the pipe.
    emit = _writer(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        if "peer" in task:
            case = Case(**task["case"])
            measure(task["peer"], case, tuple(task["targets"]), task["limit"], emit)
        else:
            result = call(task["module"], task["function"], task["arguments"])
            emit({"event": "result", "result": result})


if __name__ == "__main__":
    main()
