"""Tables in Markdown, written between markers of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import sentences
from bench.peers import PEERS

Record = dict[str, Any]

NOTHING = "-"

SKELETON = """# Benchmarks

Measured with `python -m bench` (see [bench/README.md](../bench/README.md)); the raw numbers are in
[benchmarks.json](benchmarks.json). The parts between markers are written by that command.

## Machine

<!-- bench:machine --><!-- /bench:machine -->

## Other solvers

<!-- bench:peers --><!-- /bench:peers -->

## One solve against one singular value decomposition

<!-- bench:dgesdd --><!-- /bench:dgesdd -->

## Many small problems, few large clusters

<!-- bench:throughput --><!-- /bench:throughput -->

<!-- bench:clusters --><!-- /bench:clusters -->

<!-- bench:huge --><!-- /bench:huge -->

## Time against K

<!-- bench:scaling --><!-- /bench:scaling -->

## Linear algebra

<!-- bench:linear_algebra --><!-- /bench:linear_algebra -->
"""


def write(path: Path, parts: dict[str, str]) -> None:
    """Replace the named parts of the page, which is started from a skeleton if it is missing."""
    text = path.read_text(encoding="utf-8") if path.is_file() else SKELETON
    for name, body in parts.items():
        pattern = re.compile(f"<!-- bench:{name} -->.*?<!-- /bench:{name} -->", re.DOTALL)
        filled = f"<!-- bench:{name} -->\n{body}\n<!-- /bench:{name} -->"
        pieces = pattern.split(text)
        text = filled.join(pieces)
        if len(pieces) != 2:
            raise ValueError(f"{path} must hold the markers of bench:{name} once")
    path.write_text(text, encoding="utf-8")


def parts(results: dict[str, Any]) -> dict[str, str]:
    """Markdown of every section that was measured."""
    tables = {
        "peers": peer_tables,
        "dgesdd": dgesdd_table,
        "throughput": throughput_table,
        "clusters": clusters_table,
        "huge": huge_table,
        "scaling": scaling_table,
        "linear_algebra": linear_algebra_table,
    }
    texts = {"machine": sentences(results["machine"])}
    for name, table in tables.items():
        if results["sections"].get(name):
            texts[name] = table(results["sections"][name])
    return texts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """Three digits and a unit."""
    if value is None:
        return NOTHING
    if value < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if value < 1.0:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"


# ---------------------------------------------------------------------------- other solvers


def peer_tables(records: list[Record]) -> str:
    """Time tables by regime and target, then memory."""
    texts = []
    factors = sorted({record["case"]["factor"] for record in records})
    targets = next((list(r["time_to"]) for r in records if r["time_to"]), [])
    for factor in factors:
        chosen = [record for record in records if record["case"]["factor"] == factor]
        texts.append(f"### lambda_z = {factor:g} sqrt(min n) / N")
        for target in targets:
            cells = {(r["peer"], r["key"]): _time_cell(r, target) for r in chosen}
            texts.append(f"Time to a relative gap of {target}:")
            texts.append(_peer_table(chosen, cells))
        cells = {(r["peer"], r["key"]): _memory_cell(r) for r in chosen}
        texts.append("Peak memory of the process (in brackets: above the warmed-up process), MiB:")
        texts.append(_peer_table(chosen, cells))
    return "\n\n".join(texts)


def _peer_table(records: list[Record], cells: dict[tuple[str, str], str]) -> str:
    cases = {r["key"]: r["case"] for r in records}
    keys = sorted(cases, key=lambda key: (cases[key]["kind"], cases[key]["size"]))
    peers = [name for name in PEERS if any(r["peer"] == name for r in records)]
    head = ["", *(_case_head(cases[key]) for key in keys)]
    rows = []
    for name in peers:
        row = [cells.get((name, key), "") for key in keys]
        if not _absent(records, name):
            rows.append([PEERS[name].label, *row])
    text = table(head, rows)
    absent = [f"{PEERS[n].label}: {_absent(records, n)}." for n in peers if _absent(records, n)]
    return text + ("\n\nNot run: " + " ".join(absent) if absent else "")


def _absent(records: list[Record], name: str) -> str | None:
    """Why a peer was not run at all, or None."""
    own = [r for r in records if r["peer"] == name]
    if all(r["status"] == "skipped" and not r["reason"].startswith("gave up") for r in own):
        return str(own[0]["reason"]) if own else None
    return None


def _case_head(case: dict[str, Any]) -> str:
    return "10 in 3 clusters" if case["kind"] == "clusters" else f"K = {case['size']}"


def _time_cell(record: Record, target: str) -> str:
    if record["status"] == "skipped":
        return NOTHING
    value = record["time_to"].get(target)
    if value is not None:
        return seconds(value)
    if record["best_gap"] is None:
        return record["reason"] if record["reason"] == "out of memory" else "no answer"
    return f"({record['best_gap']:.0e})"


def _memory_cell(record: Record) -> str:
    if record.get("peak_mib") is None:
        return NOTHING
    growth = record.get("growth_mib") or 0.0
    return f"{record['peak_mib']:.0f} ({max(growth, 0.0):.0f})"


# ---------------------------------------------------------------------------- the package alone


def dgesdd_table(rows: list[Record]) -> str:
    head = ["method", "lambda_z", "K", "solve", "dgesdd", "ratio", "gap", "ran"]
    return table(
        head,
        [
            [
                row["method"],
                f"{row['factor']:g} sqrt(min n)/N",
                str(row["size"]),
                seconds(row["solve_seconds"]),
                seconds(row["dgesdd_seconds"]),
                f"{row['ratio']:.2f}",
                f"{row['gap']:.1e}",
                row["ran"],
            ]
            for row in rows
        ],
    )


def throughput_table(rows: list[Record]) -> str:
    head = ["call", "problems", "time", "problems a second", "worst gap"]
    return "Two clusters of five classes, random counts and lambda_z:\n\n" + table(
        head,
        [
            [
                f"`{row['call']}`",
                str(row["problems"]),
                seconds(row["seconds"]),
                f"{row['per_second']:.0f}",
                f"{row['worst_gap']:.0e}",
            ]
            for row in rows
        ],
    )


def clusters_table(rows: list[Record]) -> str:
    body = [
        [f"{row['factor']:g} sqrt(min n)/N", seconds(row["seconds"]), str(row["calls"])]
        for row in rows
    ]
    text = table(["lambda_z", "time a call", "calls"], body)
    return f"Ten classes in three clusters, one call of `ufm.solve`:\n\n{text}"


def huge_table(rows: list[Record]) -> str:
    return " ".join(
        f"{row['size']:,} classes in {row['clusters']} clusters, from the array of counts to the "
        f"blocks and the bias of all classes: {seconds(row['seconds'])} (gap {row['gap']:.0e})."
        for row in rows
    )


def scaling_table(rows: list[Record]) -> str:
    head = ["method", "lambda_z", "K", "time", "certificate", "rest", "gap", "gap recomputed"]
    return table(
        head,
        [
            [
                row["method"],
                f"{row['factor']:g} sqrt(min n)/N",
                f"{row['size']:,}",
                seconds(row["seconds"]) + ("" if row["converged"] else " (limit)"),
                seconds(row["certificate_seconds"]),
                seconds(row["rest_seconds"]),
                f"{row['gap']:.1e}",
                "yes" if row["checked"] else "no, its own",
            ]
            for row in rows
        ],
    )


def linear_algebra_table(rows: list[Record]) -> str:
    backends = [key for key in rows[0] if key not in ("size", "operation")]
    names = {key: _backend(key) for key in backends}
    head = ["operation", "K", *names.values(), *(f"Eigen / {names[k]}" for k in backends[1:])]
    order = {"svt": 0, "norm bound": 1, "solve": 2}
    body = []
    for row in sorted(rows, key=lambda row: (order[row["operation"]], row["size"])):
        times = [seconds(row[key]) for key in backends]
        ratios = [f"{row[backends[0]] / row[key]:.2f}" for key in backends[1:]]
        body.append([row["operation"], str(row["size"]), *times, *ratios])
    return table(head, body)


def _backend(key: str) -> str:
    name, threads = key.split()
    plural = "s" if threads != "1" else ""
    return "Eigen" if name == "eigen" else f"LAPACK, {threads} thread{plural}"
