"""``ufm figure ... --runs``: trained networks beside the theory, trained first where asked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from ufm.cli import output
from ufm.cli.figure_output import (
    checked_paths,
    finish,
    json_option,
    numbers_option,
    picture_option,
)

if TYPE_CHECKING:
    from ufm.figures import RunsFigure
    from ufm.torch.config import RunConfig
    from ufm.torch.protocol import Protocol

_PUBLISHED = "as_published"

mode_option = click.option(
    "--mode",
    type=click.Choice(["corrected", "as-published"]),
    default="corrected",
    help="Networks: as `ufm train --mode`. Theory of figure 9: lambda_z = 0.1/N and cosines of "
    "columns of Z, or with the weight decay and the rows of the published runs.  "
    "[default: corrected]",
)
vectors_option = click.option(
    "--vectors",
    type=click.Choice(["columns", "rows"]),
    help="Vectors of Z that figure 9 compares.  [default: by --mode]",
)


def runs_options(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every figure of trained networks has."""
    options = (
        click.option(
            "--runs",
            type=click.Path(file_okay=False, path_type=Path),
            required=required,
            metavar="FOLDER",
            help="Trained networks beside the theory: a protocol's folder of runs.",
        ),
        click.option("--train", is_flag=True, help="Train the runs that FOLDER lacks first."),
        click.option(
            "--size",
            type=click.Choice(["cpu", "full"]),
            help="Show the runs of the figure's protocol for a CPU, or of the paper's.  "
            "[default: every run in FOLDER; to train, by FOLDER's name, else cpu]",
        ),
        click.option(
            "--protocol",
            metavar="NAME|FILE",
            help="Show the runs of this protocol, as for `ufm train`.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            help="Runs trained at the same time.  [default: 1]",
        ),
        click.option("--device", metavar="NAME", help="Where to train.  [default: cuda if there]"),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@dataclass(frozen=True)
class Request:
    """What the options ask for."""

    kind: int | str
    runs: Path
    train: bool
    size: str | None
    protocol: str | None
    jobs: int
    device: str | None
    mode: str
    vectors: str | None
    out: Path | None
    numbers: Path | None
    as_json: bool


def runs_command(name: str, kind: int | str, shows: str) -> click.Command:
    """The command of a figure that needs trained networks."""

    def command(**options: Any) -> int:
        return draw_runs(Request(kind=kind, vectors=None, **options))

    for option in (json_option, numbers_option, mode_option, runs_options(True), picture_option):
        command = option(command)
    return click.command(name, help=shows)(command)


def draw_runs(request: Request) -> int:
    """Train what is missing if asked to, draw, and tell what is missing still."""
    from ufm import figures
    from ufm.figures._runs_figure import listed, unfinished

    out = checked_paths(
        request.out, request.numbers, f"figure-{request.kind}-runs.png", request.as_json
    )
    for name in ("jobs", "device"):
        if _was_given(name) and not request.train:
            raise click.UsageError(f"--{name} needs --train")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("pictures are drawn by one process: give torchrun `ufm train`")
    protocol, mode, stated = _protocol(request)
    configs = [] if protocol is None else protocol.runs(mode)
    status = _train(request, configs) if request.train else 0
    left_out = unfinished(configs, request.runs, strict=stated)
    chosen: dict[str, Any] = {"protocol": protocol, "mode": mode} if stated else {}
    if protocol is not None and len(left_out) == len(configs):
        others = {path.parent.name for path in request.runs.glob("*/run.json")} - set(left_out)
        if stated or not others:
            raise ValueError(
                f"runs: '{request.runs}' holds no finished run of {protocol.name}: "
                f"{listed(left_out)}; {_how_to_train(request, left_out)}"
            )
    solved = figures.runs_figure(request.kind, request.runs, vectors=request.vectors, **chosen)
    diverged = {name: why for name, why in left_out.items() if why == "diverged"}
    missing = {name: why for name, why in left_out.items() if why != "diverged"}
    if missing:
        click.echo(
            f"ufm figure: not shown, {len(missing)} of {len(configs)} runs: {listed(missing)}; "
            + _how_to_train(request, missing),
            err=True,
        )
    if diverged:
        click.echo(f"ufm figure: not shown, diverged: {', '.join(diverged)}", err=True)
    lost = {name: why for name, why in solved.left_out.items() if name not in left_out}
    if lost:
        click.echo(f"ufm figure: not shown, damaged: {listed(lost)}", err=True)
    return max(status, finish(solved, _table, out, request.numbers, request.as_json))


def _protocol(request: Request) -> tuple[Protocol | None, str, bool]:
    """Which runs belong to the figure, in which mode, and whether that was said or only guessed."""
    from ufm.torch import load_protocol

    mode = request.mode.replace("-", "_")
    if request.protocol is not None and request.size is not None:
        raise click.UsageError("--protocol and --size exclude each other")
    if request.protocol is not None:
        return load_protocol(request.protocol), mode, True
    if request.size is not None:
        return load_protocol(_name(request, request.size)), mode, True
    named = request.runs.resolve().name
    published = named.removesuffix(f"-{_PUBLISHED}")
    if published != named and not _was_given("mode"):
        mode = _PUBLISHED
    found = _of_folder(request.kind, published)
    if found is None and request.train:
        found = load_protocol(_name(request, "cpu"))
    if found is None and _was_given("mode"):
        raise click.UsageError("--mode needs --size or --protocol, which say whose mode")
    return found, mode, request.train


def _name(request: Request, size: str) -> str:
    if not isinstance(request.kind, int):
        raise click.UsageError("which runs? Give --protocol")
    return f"figure{request.kind}-cpu" if size == "cpu" else f"figure{request.kind}"


def _of_folder(kind: int | str, name: str) -> Protocol | None:
    """The protocol whose runs `ufm train` keeps in a folder of this name."""
    from ufm.torch import load_protocol, protocol_names

    known = [load_protocol(found) for found in protocol_names()]
    mine = [found for found in known if found.name == name]
    return next((found for found in mine if kind in found.figures), mine[0] if mine else None)


def _was_given(option: str) -> bool:
    context = click.get_current_context()
    return context.get_parameter_source(option) is ParameterSource.COMMANDLINE


def _train(request: Request, configs: list[RunConfig]) -> int:
    from ufm.cli.train import train_runs
    from ufm.figures._runs_figure import unfinished

    unfinished(configs, request.runs)  # refuses another protocol's folder before any work
    return train_runs(
        Console(stderr=True, highlight=False),
        configs,
        request.runs,
        device=request.device,
        threads=None,
        jobs=request.jobs,
    )


def _how_to_train(request: Request, missing: dict[str, str]) -> str:
    if request.train:
        return "they were not trained to the end"
    words = ["ufm", "figure", str(request.kind), "--runs", str(request.runs), "--train"]
    for option in ("size", "protocol"):
        value = getattr(request, option)
        words += [f"--{option}", value] if value is not None else []
    if _was_given("mode"):
        words += ["--mode", request.mode]
    what = "it" if len(missing) == 1 else "them"
    return f"train {what} with: {shlex.join(words)}"


def _table(solved: RunsFigure) -> Table:
    """One row a run."""
    from ufm.cli import report

    table = report._table(output.console())
    rows = [_cells(row) for row in solved.records()]
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("run", "minority") else "right")
    for row in rows:
        table.add_row(*row.values())
    return table


def _cells(row: dict[str, Any]) -> dict[str, str]:
    right = {True: "as predicted", False: "not as predicted"}[row["verdict_right"]]
    return {
        "run": row["run"],
        "/ threshold": f"{row['lambda_z_over_threshold']:.3g}",
        "error of Z": f"{row['error_z']:.4f}",
        "of b": f"{row['error_b_centred']:.4f}",
        "spread": f"{row['spread']:.4f}",
        "predicted": f"{row['spread_predicted']:.4f}",
        "minority": f"{'merged' if row['collapsed'] else 'separate'}, {right}",
        "dead": str(row["dead_classes"]),
    }
