"""``ufm figure``: pictures of the theory, with their numbers on request."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ufm.cli import output
from ufm.cli.figure_output import (
    DONE,
    checked_paths,
    finish,
    json_option,
    numbers_option,
    picture_option,
)
from ufm.cli.figure_runs import (
    Request,
    draw_runs,
    mode_option,
    runs_command,
    runs_options,
    vectors_option,
)
from ufm.cli.options import to_lambda_b

if TYPE_CHECKING:
    from ufm.figures import PaperFigure, PhaseMap

_MOST_POINTS = 2000
_PHASE_ROWS = 9

_COSINE = "cosine_inside_a"  # a column of figure 9 only


@click.group(invoke_without_command=True)
@click.pass_context
def figure(context: click.Context) -> int:
    """Draw a figure of the theory, or of trained networks beside it.

    1 to 9 are those of Hong and Ling (arXiv 2309.09725): 5 to 9 as the theory has them, all of
    them with --runs.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return DONE


def _paper_command(number: int, shows: str) -> click.Command:
    """The command of a figure that the theory has too."""

    def command(features: str, runs: Path | None, **options: Any) -> int:
        from ufm import figures

        if runs is not None:
            _refuse("features", "does not go with --runs: the runs decide it")
            return draw_runs(Request(kind=number, runs=runs, **options))
        for name in ("train", "size", "protocol", "jobs", "device"):
            _refuse(name, "needs --runs")
        numbers, as_json = options["numbers"], options["as_json"]
        out = checked_paths(options["out"], numbers, f"figure{number}.png", as_json)
        mode = options["mode"].replace("-", "_")
        solved = figures.solve_paper_figure(
            number, features=features, mode=mode, vectors=options["vectors"]
        )
        return finish(solved, _table, out, numbers, as_json)

    for option in (
        runs_options(False),
        json_option,
        numbers_option,
        vectors_option,
        mode_option,
        click.option(
            "--features",
            type=click.Choice(["free", "nonnegative"]),
            default="free",
            help="Theory of signed features, or of features after a ReLU.  [default: free]",
        ),
        picture_option,
    ):
        command = option(command)
    return click.command(str(number), help=shows)(command)


def _refuse(name: str, why: str) -> None:
    """An error if an option was given that would have no effect."""
    source = click.get_current_context().get_parameter_source(name)
    if source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--{name} {why}")


for _number, _shows in {
    5: "Z at ten lambda_z: five classes of 500, five of 100.",
    6: "Z at ten lambda_z: three classes of 500, seven of 100.",
    7: "Z at ten larger counts n_A: five classes of n_A, five of 100.",
    8: "Z at ten larger counts n_A: three classes of n_A, seven of 100.",
    9: "Cosines between mean predictions as all counts grow.",
}.items():
    figure.add_command(_paper_command(_number, _shows))


for _name, _kind, _help in (
    ("1", 1, "NC1 of trained networks against epoch."),
    ("2", 2, "Z of trained networks and of the theory, each scaled to fill 0 to 1."),
    ("3", 3, "Relative errors of Z and b of trained networks against epoch."),
    ("4", 4, "Z of trained networks beside both predictions."),
    ("spread", "spread", "Spread of the smallest classes and error of Z of trained networks."),
    ("accuracy", "accuracy", "Accuracy of trained networks on test images, by class size."),
):
    figure.add_command(runs_command(_name, _kind, _help))


@figure.command()
@click.option("--classes-a", type=int, default=5, help="Classes of n_A = r n_B.  [default: 5]")
@click.option("--classes-b", type=int, default=5, help="Classes of n_B.  [default: 5]")
@click.option("--count-b", type=float, default=100.0, help="Samples n_B.  [default: 100]")
@click.option(
    "--lambda-b",
    callback=to_lambda_b,
    default="0.02",
    metavar="NUMBER",
    help="Weight of the bias penalty.  [default: 0.02]",
)
@click.option("--max-ratio", type=float, default=100.0, help="Largest r.  [default: 100]")
@click.option("--points", type=int, default=400, help="Points on each axis.  [default: 400]")
@picture_option
@numbers_option
@json_option
def phase(
    classes_a: int,
    classes_b: int,
    count_b: float,
    lambda_b: float,
    max_ratio: float,
    points: int,
    out: Path | None,
    numbers: Path | None,
    as_json: bool,
) -> int:
    """What becomes of the minority over lambda_z and the ratio r = n_A / n_B.

    Colours are found by solving every point, curves are the thresholds. --numbers FILE.csv has
    the thresholds for each r, FILE.json also the region of each point.
    """
    from ufm import figures

    out = checked_paths(out, numbers, "figure-phase.png", as_json)
    if not 2 <= points <= _MOST_POINTS:
        raise click.BadParameter(f"must be from 2 to {_MOST_POINTS}", param_hint="--points")
    if not 1 < max_ratio < math.inf:
        raise click.BadParameter("must be a number above 1", param_hint="--max-ratio")
    with Progress(console=Console(stderr=True), transient=True, disable=not _watched()) as bar:
        task = bar.add_task("problems", total=None)
        solved = figures.solve_phase_map(
            classes_a,
            classes_b,
            count_b,
            lambda_b,
            ratios=np.geomspace(1, max_ratio, points),
            points=points,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return finish(solved, _phase_table, out, numbers, as_json)


def _table(solved: PaperFigure) -> Table:
    """One row a panel."""
    from ufm.cli import report

    records = solved.records()
    table = report._table(output.console())
    cells = [_limit_cells(row) if _COSINE in row else _cells(row) for row in records]
    for column in cells[0]:
        table.add_column(column, justify="left" if column == "minority" else "right")
    for row in cells:
        table.add_row(*row.values())
    return table


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Cells of a panel by the head of their column."""
    return {
        "n_A": f"{row['n_a']:g}",
        "n_B": f"{row['n_b']:g}",
        "lambda_z": f"{row['lambda_z']:.4g}",
        "/ threshold": f"{row['lambda_z_over_threshold']:.4g}",
        "minority": row["verdict"],
        "z_AA": f"{row['z_aa']:.4f}",
        "z_BB": f"{row['z_bb']:.4f}",
        "gap": f"{row['relative_gap']:.1e}",
    }


def _limit_cells(row: dict[str, Any]) -> dict[str, str]:
    """The same for figure 9, where no class collapses."""
    samples = row["k_a"] * row["n_a"] + row["k_b"] * row["n_b"]
    return {
        "n_A": f"{row['n_a']:g}",
        "n_B": f"{row['n_b']:g}",
        "lambda_z": f"{row['lambda_z']:.4g}",
        "N lambda_z": f"{row['lambda_z'] * samples:.4f}",
        "cos in A": f"{row['cosine_inside_a']:.4f}",
        "cos in B": f"{row['cosine_inside_b']:.4f}",
        "cos A to B": f"{row['cosine_between']:.4f}",
        "gap": f"{row['relative_gap']:.1e}",
    }


def _phase_table(solved: PhaseMap) -> Table:
    """The thresholds at some ratios."""
    from ufm.cli import report

    table = report._table(output.console())
    records = solved.records()
    for column in records[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for position in np.linspace(0, len(records) - 1, min(_PHASE_ROWS, len(records))).round():
        table.add_row(*(f"{value:.6g}" for value in records[int(position)].values()))
    return table


def _watched() -> bool:
    return sys.stderr.isatty()
