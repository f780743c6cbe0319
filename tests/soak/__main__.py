"""Draw, solve, recompute, count: see ``--help``."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from tests import soak  # noqa: F401  (makes the oracles importable)

from soak.check import Result
from soak.kinds import KINDS
from soak.record import Recorder


def run_case(name: str, seed: int, number: int) -> list[Result]:
    """One draw of a kind: the same for the same three arguments."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(name), number])
    try:
        return list(KINDS[name].run(rng))
    except Exception:
        failed = Result(name, "", "EXCEPTION", 0, 0, 0.0, 0.0, 0.0, 0.0)
        failed.faults.append(traceback.format_exc())
        return [failed]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="summary as JSON; a picture beside it")
    parser.add_argument("--only", choices=sorted(KINDS), help="one kind of problem")
    parser.add_argument("--replay", metavar="KIND:NUMBER", help="one draw, told in full")
    given = parser.parse_args()
    if given.replay:
        name, _, number = given.replay.rpartition(":")
        results = run_case(name, given.seed, int(number))
        for result in results:
            print(json.dumps(result.to_dict(), indent=1))
        return int(any(result.faults for result in results))
    recorder = Recorder(given.seed, 60.0 * given.minutes)
    numbers, spent = Counter[str](), defaultdict[str, float](float)
    names = [given.only] if given.only else list(KINDS)
    watched = sys.stderr.isatty()
    try:
        while recorder.elapsed() < recorder.limit:
            # The kind that lags most behind its share of the time.
            name = min(names, key=lambda name: spent[name] / KINDS[name].share)
            began = time.perf_counter()
            for result in run_case(name, given.seed, numbers[name]):
                recorder.add(result, f"{name}:{numbers[name]}")
            numbers[name] += 1
            spent[name] += time.perf_counter() - began
            recorder.sample_memory()
            if watched:
                print(f"\r{recorder.line():100.100}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        recorder.interrupted = True
    gc.collect()
    if watched:
        print(file=sys.stderr)
    summary = recorder.summary({name: KINDS[name].about for name in names}, dict(spent))
    print(recorder.table(summary))
    if given.out is not None:
        recorder.write(summary, given.out)
    if recorder.interrupted:
        return 130
    return int(summary["wrong"] > 0 or not summary["memory"]["flat"])


if __name__ == "__main__":
    sys.exit(main())
