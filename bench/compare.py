"""The comparison of solvers: every peer on every case, as far as each goes."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.cases import Case
from bench.peers import PEERS, Peer
from bench.processes import GRACE, run_worker

Record = dict[str, Any]

FAST = 2.0  # seconds below which a measurement is repeated in further processes
THREADS_FROM = 200  # K from which the libraries may use all cores; threads slow small problems down
JUDGE_PATIENCE = 90.0  # seconds that one judgement may take


@dataclass(frozen=True)
class Settings:
    """What to run, and how.

    Attributes
    ----------
    targets : tuple of float
        Relative duality gaps.
    limit : float
        Seconds a point.
    repeats : int
        Processes of a fast point.
    threads : int or None
        Threads from K = 200 on; None for all cores.
    """

    peers: tuple[str, ...]
    targets: tuple[float, ...]
    limit: float
    repeats: int
    threads: int | None = None


def threads_for(size: int, settings: Settings) -> int:
    """Threads that every peer gets at this K."""
    return 1 if size < THREADS_FROM else settings.threads or os.cpu_count() or 1


def compare(
    cases: Iterable[Case],
    settings: Settings,
    done: list[Record],
    save: Callable[[list[Record]], None],
) -> list[Record]:
    """Measure all cases, calling ``save`` after each measurement.

    Measurements in ``done`` are not run again, unless they failed. A peer that misses even the
    largest gap within the limit is not tried on larger problems of the same regime.
    """
    records = [record for record in done if record["status"] in ("measured", "too slow")]
    known = {(record["key"], record["peer"]): record for record in records}
    for case in cases:
        for name in settings.peers:
            if (case.key, name) in known:
                continue
            reason = PEERS[name].missing() or _gave_up(case, name, records)
            if reason:
                record = _skipped(case, name, reason)
            else:
                record = measure(case, PEERS[name], settings)
            records.append(record)
            save(records)
            print(line(record), flush=True)
    return records


def _gave_up(case: Case, peer: str, records: list[Record]) -> str | None:
    for record in records:
        smaller = record["case"]["size"] < case.size
        same = record["case"]["kind"] == case.kind and record["case"]["factor"] == case.factor
        if same and smaller and record["peer"] == peer and record["status"] != "measured":
            return f"gave up at K = {record['case']['size']}"
    return None


def _skipped(case: Case, peer: str, reason: str) -> Record:
    return {
        "key": case.key,
        "case": case.to_dict(),
        "peer": peer,
        "status": "skipped",
        "reason": reason,
        "time_to": {},
    }


def measure(case: Case, peer: Peer, settings: Settings) -> Record:
    """Run one peer on one case, several times if it is fast; times are medians."""
    runs = [_run_once(case, peer, settings)]
    while len(runs) < settings.repeats and _slowest(runs[0]) < FAST:
        runs.append(_run_once(case, peer, settings))
    record = runs[0] | {"runs": len(runs)}
    record["time_to"] = {
        target: _median([run["time_to"][target] for run in runs]) for target in runs[0]["time_to"]
    }
    for field in ("peak_mib", "growth_mib"):
        record[field] = _median([run[field] for run in runs])
    record["best_gap"] = min(
        (r["best_gap"] for r in runs if r["best_gap"] is not None), default=None
    )
    return record


def _run_once(case: Case, peer: Peer, settings: Settings) -> Record:
    task = {
        "peer": peer.name,
        "case": case.to_dict(),
        "targets": settings.targets,
        "limit": settings.limit,
    }
    threads = threads_for(case.size, settings)
    outcome = run_worker(task, threads, GRACE * settings.limit + JUDGE_PATIENCE)
    points = [event for event in outcome["events"] if _is_finite_point(event)]
    times = {f"{t:g}": _time_to(points, t, settings.limit) for t in settings.targets}
    baseline = next((e["baseline"] for e in outcome["events"] if e["event"] == "start"), None)
    peak = max((point["peak"] for point in points), default=None)
    reached = times[f"{max(settings.targets):g}"] is not None
    status = "failed" if outcome["error"] else "measured" if reached else "too slow"
    return {
        "key": case.key,
        "case": case.to_dict(),
        "peer": peer.name,
        "threads": threads,
        "status": status,
        "reason": _reason(outcome),
        "time_to": times,
        "best_gap": min((point["gap"] for point in points), default=None),
        "peak_mib": _mib(peak),
        "growth_mib": _mib(None if peak is None or baseline is None else peak - baseline),
        "primal": min((point["primal"] for point in points), default=None),
        "dual": max((point["dual"] for point in points), default=None),
        "points": _thinned(points),
    }


def _is_finite_point(event: dict[str, Any]) -> bool:
    return event["event"] == "point" and math.isfinite(event["gap"])


def _reason(outcome: dict[str, Any]) -> str:
    """Why there may be less than was asked for: what the solver said last."""
    if outcome["error"]:
        last = outcome["error"].strip().splitlines()[-1]
        return "out of memory" if "memory" in last.lower() else last[-300:]
    if outcome["killed"]:
        return "killed, far beyond the limit"
    return next((e["status"] for e in outcome["events"] if e["event"] == "unanswered"), "")


def _thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trajectory for the pictures: few digits and about fifty points."""
    keep = points[:: max(1, len(points) // 50)]
    if points and keep[-1] is not points[-1]:
        keep.append(points[-1])
    left_out = ("event", "at", "peak", "primal", "dual")
    rows = [{key: v for key, v in point.items() if key not in left_out} for point in keep]
    for row in rows:
        row["seconds"] = float(f"{row['seconds']:.4g}")
        row["gap"] = float(f"{row['gap']:.3g}")
    return rows


def _time_to(points: list[dict[str, Any]], target: float, limit: float) -> float | None:
    """Shortest time after which the judge found the gap, within the limit."""
    reached = [p["seconds"] for p in points if p["gap"] <= target and p["seconds"] <= limit]
    return min(reached, default=None)


def _slowest(run: Record) -> float:
    times = [seconds for seconds in run["time_to"].values() if seconds is not None]
    return max(times, default=float("inf"))


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 1)


def check_agreement(records: list[Record]) -> list[str]:
    """Complaints about peers that contradict each other, and about failures of ours.

    Every point has a value that can be reached and a lower bound on all values. The largest lower
    bound of any peer must not exceed the smallest value of any other, so that peers that reached a
    gap agree on the objective to that gap.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.get("primal") is not None:
            groups.setdefault(record["key"], []).append(record)
    complaints = [
        f"{record['key']}: {record['peer']} failed: {record['reason']}"
        for record in records
        if record["status"] == "failed" and record["peer"].startswith("ufm-")
    ]
    for key, group in groups.items():
        low = min(group, key=lambda record: record["primal"])
        high = max(group, key=lambda record: record["dual"])
        if high["dual"] > low["primal"] * (1.0 + 1e-10) + 1e-13:
            complaints.append(
                f"{key}: {high['peer']} proves {high['dual']:.12g}, "
                f"but {low['peer']} reaches {low['primal']:.12g}"
            )
    return complaints


def line(record: Record) -> str:
    """One line of progress."""
    head = f"{record['key']:34} {PEERS[record['peer']].label:30}"
    if record["status"] == "skipped":
        return f"{head} skipped: {record['reason']}"
    times = "  ".join(
        f"{target}: {'-' if seconds is None else f'{seconds:.3g} s'}"
        for target, seconds in record["time_to"].items()
    )
    tail = f" [{record['status']}] {record['reason']}" if record["reason"] else ""
    best = "none" if record["best_gap"] is None else f"{record['best_gap']:.1e}"
    return f"{head} {times}  best gap {best}  {record['peak_mib']} MiB{tail}"
