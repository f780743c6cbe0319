"""``ufm figure``: pictures of the theory, with their numbers on request."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ufm.cli import output
from ufm.cli.options import to_lambda_b

if TYPE_CHECKING:
    from ufm.figures import PaperFigure, PhaseMap, RunsFigure

DONE, NOT_CONVERGED = 0, 1
_MOST_POINTS = 2000
_PHASE_ROWS = 9

_COSINE = "cosine_inside_a"  # a column of figure 9 only


picture_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Picture to write (png, pdf, svg).  [default: ./figureNAME.png; none with --json]",
)
numbers_option = click.option(
    "--numbers",
    type=click.Path(path_type=Path),
    help="Also write the numbers behind the picture into this file (csv, json).",
)
runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Trained networks beside the theory: a protocol's folder of runs from `ufm train`.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(invoke_without_command=True)
@click.pass_context
def figure(context: click.Context) -> int:
    """Draw a figure of the theory.

    5 to 9 are those of Hong and Ling (arXiv 2309.09725), as the theory has them.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return DONE


def _paper_command(number: int, shows: str) -> click.Command:
    """The command of one of the paper's figures."""

    def command(
        out: Path | None,
        features: str,
        mode: str,
        vectors: str | None,
        numbers: Path | None,
        as_json: bool,
        runs: Path | None,
    ) -> int:
        from ufm import figures

        if runs is not None:
            _refuse_theory_options()
            return _from_runs(number, runs, out, numbers, as_json)
        out = _picture_path(out, f"figure{number}.png", as_json)
        if numbers is not None:
            figures.check_numbers_path(numbers)
        solved = figures.solve_paper_figure(
            number, features=features, mode=mode.replace("-", "_"), vectors=vectors
        )
        return _finish(solved, _table, out, numbers, as_json)

    for option in (
        runs_option,
        json_option,
        numbers_option,
        click.option(
            "--vectors",
            type=click.Choice(["columns", "rows"]),
            help="Vectors of Z that figure 9 compares.  [default: by --mode]",
        ),
        click.option(
            "--mode",
            type=click.Choice(["corrected", "as-published"]),
            default="corrected",
            help="Figure 9 with lambda_z = 0.1/N and cosines of columns of Z, or with the weight "
            "decay and the rows of the published runs.  [default: corrected]",
        ),
        click.option(
            "--features",
            type=click.Choice(["free", "nonnegative"]),
            default="free",
            help="Signed features, or features after a ReLU.  [default: free]",
        ),
        picture_option,
    ):
        command = option(command)
    return click.command(str(number), help=shows)(command)


for _number, _shows in {
    5: "Z at ten lambda_z: five classes of 500, five of 100.",
    6: "Z at ten lambda_z: three classes of 500, seven of 100.",
    7: "Z at ten larger counts n_A: five classes of n_A, five of 100.",
    8: "Z at ten larger counts n_A: three classes of n_A, seven of 100.",
    9: "Cosines between mean predictions as all counts grow.",
}.items():
    figure.add_command(_paper_command(_number, _shows))


def _runs_command(name: str, kind: int | str, shows: str) -> click.Command:
    """The command of a figure that needs trained networks."""

    def command(runs: Path, out: Path | None, numbers: Path | None, as_json: bool) -> int:
        return _from_runs(kind, runs, out, numbers, as_json)

    required = click.option(
        "--runs",
        type=click.Path(path_type=Path),
        required=True,
        metavar="FOLDER",
        help="A protocol's folder of runs from `ufm train`.",
    )
    for option in (json_option, numbers_option, picture_option, required):
        command = option(command)
    return click.command(name, help=shows)(command)


for _name, _kind, _help in (
    ("1", 1, "NC1 of trained networks against epoch."),
    ("3", 3, "Relative errors of Z and b of trained networks against epoch."),
    ("spread", "spread", "Spread of the smallest classes and error of Z of trained networks."),
    ("accuracy", "accuracy", "Accuracy of trained networks on test images, by class size."),
):
    figure.add_command(_runs_command(_name, _kind, _help))


def _refuse_theory_options() -> None:
    """A run fixes features, penalties and vectors; options that say otherwise are an error."""
    context = click.get_current_context()
    for name in ("features", "mode", "vectors"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} does not go with --runs: the runs decide it")


def _from_runs(
    kind: int | str, runs: Path, out: Path | None, numbers: Path | None, as_json: bool
) -> int:
    from ufm import figures

    out = _picture_path(out, f"figure-{kind}-runs.png", as_json)
    if numbers is not None:
        figures.check_numbers_path(numbers)
    return _finish(figures.runs_figure(kind, runs), _runs_table, out, numbers, as_json)


def _runs_table(solved: RunsFigure) -> Table:
    """One row a run."""
    from ufm.cli import report

    table = report._table(output.console())
    rows = [_run_cells(row) for row in solved.records()]
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("run", "minority") else "right")
    for row in rows:
        table.add_row(*row.values())
    return table


def _run_cells(row: dict[str, Any]) -> dict[str, str]:
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

    out = _picture_path(out, "figure-phase.png", as_json)
    if numbers is not None:
        figures.check_numbers_path(numbers)
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
    return _finish(solved, _phase_table, out, numbers, as_json)


def _finish(
    solved: Any,
    table: Callable[[Any], Table],
    out: Path | None,
    numbers: Path | None,
    as_json: bool,
) -> int:
    """Write and print what was asked for; the exit status."""
    from ufm import figures

    written = []
    if out is not None:
        written.append(("picture", figures.save(solved.draw(), out)))
    if numbers is not None:
        path = figures.write_numbers(solved.to_dict(), solved.records(), numbers)
        written.append(("numbers", path))
    if as_json:
        output.print_json(solved.to_dict())
    else:
        console = output.console()
        console.print(table(solved))
        for what, path in written:
            console.print(f"{what}: {path}", markup=False, soft_wrap=True)
    return DONE if solved.converged else NOT_CONVERGED


def _picture_path(out: Path | None, default: str, as_json: bool) -> Path | None:
    """Where the picture goes, checked; None where none is asked for."""
    if out is None and as_json:
        return None
    from ufm import figures

    return figures.check_path(Path(default) if out is None else out, "--out")


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
