"""The one command: ``python -m bench`` from the repository root."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import report
from bench.cases import FACTORS, SIZES, TARGETS, peer_cases
from bench.compare import Settings, check_agreement, compare
from bench.machine import describe
from bench.peers import PEERS
from bench.processes import ROOT, call

Results = dict[str, Any]
SCALING_SIZES = (1000, 3000, 10_000, 30_000, 100_000)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="sections to run")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="K of the peers")
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a point")
    parser.add_argument("--repeats", type=int, default=3, help="processes of a fast point")
    parser.add_argument("--threads", type=int, help="threads from K = 200 on (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the command")
    parser.add_argument("--resume", action="store_true", help="keep what was measured already")
    parser.add_argument("--render", action="store_true", help="write the page from the raw numbers")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the page")
    return parser.parse_args(arguments)


def _save(results: Results, path: Path) -> None:
    """Write the raw numbers, one measurement a line."""
    sections = []
    for name, rows in results["sections"].items():
        lines = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in rows)
        sections.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
    head = json.dumps({key: value for key, value in results.items() if key != "sections"}, indent=1)
    text = head[:-2] + ',\n "sections": {\n' + ",\n".join(sections) + "\n }\n}\n"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


# ---------------------------------------------------------------------------- sections


def _peers(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    settings = Settings(
        tuple(options.peers), TARGETS, options.limit, options.repeats, options.threads
    )

    def keep(records: list[dict[str, Any]]) -> None:
        results["sections"]["peers"] = records
        save()

    cases = peer_cases(tuple(options.sizes), tuple(options.factors))
    keep(compare(cases, settings, results["sections"].get("peers", []), keep))


def _one(name: str, rows: list[dict[str, Any]], results: Results) -> None:
    results["sections"][name] = rows
    for row in rows:
        print(f"{name}: {json.dumps(row)}", flush=True)


def _dgesdd(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    from ufm.solver import METHODS

    methods = [name for name in ("auto", "factored", "continuum") if name in METHODS]
    size = 100 if options.quick else 1000
    rows = [
        call("dgesdd", "ratio", {"size": size, "factor": factor, "method": method})
        for factor in options.factors
        for method in methods
    ]
    _one("dgesdd", rows, results)


def _throughput(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    number = 50 if options.quick else 2000
    _one("throughput", call("scaling", "throughput", {"number": number}), results)


def _clusters(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    rows = call("scaling", "clusters", {"factors": options.factors})
    _one("clusters", rows, results)


def _huge(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    size = 3000 if options.quick else 300_000
    _one("huge", call("scaling", "huge", {"size": size}), results)


def _scaling(options: argparse.Namespace, results: Results, save: Callable[[], None]) -> None:
    from ufm.solver import METHODS

    method = "continuum" if "continuum" in METHODS else "factored"
    rows: list[dict[str, Any]] = []
    for factor in options.factors:
        for size in (50, 100) if options.quick else SCALING_SIZES:
            task = {"size": size, "factor": factor, "method": method, "tol": 1e-6}
            try:
                row = call("scaling", "distinct", task | {"limit": 4 * options.limit})
            except (TimeoutError, RuntimeError) as error:
                print(f"scaling: K = {size} stops the series: {error}", flush=True)
                break
            rows.append(row)
            print(f"scaling: {json.dumps(row)}", flush=True)
            if not row["converged"]:
                break
    results["sections"]["scaling"] = rows


def _linear_algebra(
    options: argparse.Namespace, results: Results, save: Callable[[], None]
) -> None:
    sizes = [50, 60] if options.quick else [50, 100, 200, 500, 1000]
    threads = sorted({1, os.cpu_count() or 1})
    rows = call("linear_algebra", "measure", {"sizes": sizes, "threads": threads})
    _one("linear_algebra", rows, results)


SECTIONS: dict[str, Callable[[argparse.Namespace, Results, Callable[[], None]], None]] = {
    "clusters": _clusters,
    "huge": _huge,
    "throughput": _throughput,
    "dgesdd": _dgesdd,
    "linear_algebra": _linear_algebra,
    "scaling": _scaling,
    "peers": _peers,
}


# ---------------------------------------------------------------------------- the command


def render(results: Results, output: Path) -> None:
    """Write the page and the pictures."""
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    records = results["sections"].get("peers", [])
    if any(record.get("points") for record in records):
        from bench.plots import gap_against_time, time_against_size

        time_against_size(records, images / "bench_time.png")
        gap_against_time(records, images / "bench_gap.png")
    report.write(output / "benchmarks.md", report.parts(results))


def _start(options: argparse.Namespace, raw: Path) -> Results:
    """New results, or with --resume and --render those of an earlier run."""
    old: Results | None = json.loads(raw.read_text("utf-8")) if raw.is_file() else None
    if options.render:
        if old is None:
            raise SystemExit(f"there is no {raw} to render")
        return old
    settings = {
        "limit": options.limit,
        "repeats": options.repeats,
        "quick": options.quick,
        "threads": options.threads,
    }
    results: Results = {"machine": describe(), "settings": settings, "sections": {}}
    if old is not None and (options.resume or options.only):
        results["sections"] = old["sections"]
    if not options.resume:
        for name in options.only or SECTIONS:
            results["sections"].pop(name, None)
    return results


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.quick:
        options.sizes, options.limit, options.repeats = [10, 20], min(options.limit, 3.0), 1
    options.output.mkdir(parents=True, exist_ok=True)
    raw = options.output / "benchmarks.json"
    results = _start(options, raw)
    if not options.render:
        for name in options.only or SECTIONS:
            if name == "peers" or name not in results["sections"]:
                SECTIONS[name](options, results, lambda: _save(results, raw))
                _save(results, raw)
    render(results, options.output)
    complaints = check_agreement(results["sections"].get("peers", []))
    for complaint in complaints:
        print(f"PROBLEM: {complaint}", file=sys.stderr)
    print(f"wrote {options.output / 'benchmarks.md'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
