"""Tables for people, in ASCII where the terminal has nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ufm import BiasOnlyThresholds, Solution, Thresholds
    from ufm.clusters import Cluster

T = TypeVar("T")

MOST_ROWS = 12


def print_solution(console: Console, solution: Solution) -> None:
    """The problem, the certificate and the verdict on each cluster."""
    console.print(_facts(solution))
    console.print(cluster_table(console, solution))
    console.print(_closing_line(solution))


def print_thresholds(
    console: Console, thresholds: Thresholds, alone: BiasOnlyThresholds | None
) -> None:
    """One row a cluster, and lambda_max; with a bias also from where it predicts alone."""
    table = _table(console)
    columns = ["count", "classes", "merge at lambda_z >="]
    if alone is not None:
        columns.append("bias alone at lambda_z >=")
    for column in columns:
        table.add_column(column, justify="right")
    for i in _abridged(range(len(thresholds.clusters))):
        if i is None:
            table.add_row(*[_ellipsis(console)] * len(columns))
            continue
        cluster = thresholds.clusters[i]
        merges = "single" if math.isnan(cluster.collapse) else f"{cluster.collapse:.8g}"
        row = [number(cluster.count), str(cluster.multiplicity), merges]
        table.add_row(*row, *([] if alone is None else [f"{alone.clusters[i].bias_only:.8g}"]))
    classes = sum(cluster.multiplicity for cluster in thresholds.clusters)
    different = len(thresholds.clusters)
    console.print(
        f"{classes} classes, {number(thresholds.num_samples)} samples, "
        f"{different} different size{'' if different == 1 else 's'}"
    )
    console.print(table)
    console.print(f"Z = 0 at lambda_z >= {thresholds.lambda_max:.8g}")


def cluster_table(console: Console, solution: Solution) -> Table:
    """What became of each cluster; long lists are cut in the middle."""
    table = _table(console)
    columns = ["count", "classes", "threshold", "lambda_z /\nthreshold", "verdict", "z_kk", "bias"]
    for column in columns:
        left = column == "verdict"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for cluster in _abridged(solution.clusters):
        if cluster is None:
            table.add_row(*[_ellipsis(console)] * len(columns))
        else:
            table.add_row(*_cluster_row(solution, cluster))
    return table


def path_table(console: Console, solutions: Sequence[Solution]) -> Table:
    """One row a solution of the same counts; a column for each of few clusters."""
    table = _table(console)
    clusters = solutions[0].clusters if len(solutions[0].clusters) <= 3 else []
    for column in ("lambda_z", "objective", "gap", "status", "rank", "merged"):
        table.add_column(column, justify="left" if column == "status" else "right")
    for cluster in clusters:
        table.add_column(f"z_kk, classes of {number(cluster.count)}", justify="right")
    for solution in solutions:
        table.add_row(
            f"{solution.lambda_z:.4g}",
            f"{solution.objective:.8f}",
            f"{solution.relative_gap:.1e}",
            _status(solution),
            str(solution.rank),
            f"{np.count_nonzero(solution.collapsed)} of {solution.num_classes}",
            *(_path_cell(solution, position) for position in range(len(clusters))),
        )
    return table


def verdict(cluster: Cluster) -> Text:
    """Whether the classes of a cluster share one mean prediction."""
    if cluster.multiplicity == 1:
        return Text("single", style="dim")
    return Text("merged", style="bold red") if cluster.collapsed else Text("separate", "green")


def number(value: float) -> str:
    """A plain number without needless digits."""
    whole = value == round(value) or value >= 1e6
    return f"{value:.0f}" if whole and value < 1e15 else f"{value:.6g}"


def _facts(solution: Solution) -> Text:
    """Lines of a name and a value: the problem, the certificate, the run."""
    total = float(np.sum(solution.counts))
    different = solution.num_clusters
    reached = "<=" if solution.relative_gap <= solution.tol else ">"
    facts: dict[str, str | Text] = {
        "problem": f"{solution.num_classes} classes, {number(total)} samples, {different} "
        f"different size{'' if different == 1 else 's'}",
        "penalties": f"lambda_z = {solution.lambda_z:.6g}, lambda_b = {solution.lambda_b:.6g}",
        "objective": f"{solution.objective:.10g}",
        "dual": f"{solution.dual_objective:.10g}",
        "gap": f"{solution.relative_gap:.1e} {reached} {solution.tol:.0e} (goal)",
        "rank of Z": str(solution.rank),
        "solver": f"{solution.method}, {solution.iterations} iterations, {solution.seconds:.3g} s",
        "status": _status(solution),
    }
    lines = [Text.assemble((f"{name:<11}", "dim"), value) for name, value in facts.items()]
    return Text("\n").join(lines)


def _status(solution: Solution) -> Text:
    return Text(solution.status.name, style="green" if solution.converged else "bold red")


def _path_cell(solution: Solution, position: int) -> Text:
    cluster = solution.clusters[position]
    return Text.assemble(verdict(cluster), f" {_entry(cluster.own_logit)}")


def _cluster_row(solution: Solution, cluster: Cluster) -> list[str | Text]:
    alone = cluster.multiplicity == 1  # a single class has nobody to merge with
    return [
        number(cluster.count),
        str(cluster.multiplicity),
        "-" if alone else f"{cluster.threshold:.6g}",
        "-" if alone else f"{solution.lambda_z / cluster.threshold:.4g}",
        verdict(cluster),
        _entry(cluster.own_logit),
        _entry(cluster.bias),
    ]


def _closing_line(solution: Solution) -> str:
    merged = int(np.count_nonzero(solution.collapsed))
    shared = [cluster for cluster in solution.clusters if cluster.collapsed]
    if not merged:
        return "No two classes share a mean prediction."
    sizes = ", ".join(number(cluster.count) for cluster in shared[:6])
    more = ", ..." if len(shared) > 6 else ""
    return f"{merged} of {solution.num_classes} classes are merged with others (of {sizes}{more})."


def _entry(value: float) -> str:
    """An entry to four decimals, never minus zero."""
    return f"{value + 0.0:.4f}".replace("-0.0000", "0.0000")


def _table(console: Console) -> Table:
    return Table(box=box.ASCII2 if _ascii(console) else box.SIMPLE_HEAD, pad_edge=False)


def _ascii(console: Console) -> bool:
    return not console.encoding.lower().startswith("utf")


def _ellipsis(console: Console) -> str:
    return "..." if _ascii(console) else "\N{VERTICAL ELLIPSIS}"


def _abridged(items: Sequence[T]) -> list[T | None]:
    """All items, or the first and last few around None."""
    if len(items) <= MOST_ROWS:
        return list(items)
    half = MOST_ROWS // 2
    return [*items[:half], None, *items[-half:]]
