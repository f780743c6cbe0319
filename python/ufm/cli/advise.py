"""``ufm advise``: which classes merge, and what prevents it."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

import ufm
from ufm.cli import output, report
from ufm.cli.options import OUTPUT_PATH, Counts, LambdaZ, to_counts, to_lambda_b, to_lambda_z
from ufm.planning import _margin_words as margins
from ufm.planning import _wording as wording
from ufm.planning._options import Option, options

DONE, NOT_CONFIRMED = 0, 1


def _to_counts(
    context: click.Context, option: click.Parameter, text: str
) -> tuple[Counts, list[str] | None]:
    """Counts, and the names beside them if `text` is a CSV file that has some."""
    return to_counts(context, option, text), class_names(text)


def _to_lambda_z(
    context: click.Context, option: click.Parameter, text: str | None
) -> LambdaZ | None:
    return None if text is None else to_lambda_z(context, option, text)


@click.command()
@click.option(
    "--counts",
    "problem",
    callback=_to_counts,
    metavar="LIST|FILE",
    required=True,
    help="Samples per class: a list such as 500x5,100x5 or a CSV file with a column 'count', and "
    "names of classes in a column 'name' or 'class'.",
)
@click.option(
    "--lambda-z",
    callback=_to_lambda_z,
    metavar="NUMBER",
    help="sqrt(lambda_W lambda_H), or a multiple such as 2x of sqrt(smallest count) / N. Either "
    "this or both decays.",
)
@click.option(
    "--weight-decay", type=float, help="lambda_W of (lambda_W/2)|W|^2: weight_decay of torch's SGD."
)
@click.option("--feature-decay", type=float, help="Weight c of the penalty on the features.")
@click.option(
    "--feature-penalty",
    default="sum",
    metavar="sum|mean",
    help="Whether c/2 multiplies the sum of |h|^2 over all samples or its mean over the samples of "
    "a batch.  [default: sum]",
)
@click.option(
    "--lambda-b",
    callback=to_lambda_b,
    metavar="NUMBER",
    required=True,
    help="Weight of the bias penalty (lambda_b/2)|b|^2: positive; inf for no bias; 0 for a bias "
    "without penalty.",
)
@click.option(
    "--margin",
    type=float,
    default=0.05,
    help="How far recommendations keep from the threshold.  [default: 0.05]",
)
@click.option(
    "--protect",
    default="tied",
    metavar="tied|all",
    help="Keep apart the classes that share their size with others, or all, as if they did.  "
    "[default: tied]",
)
@click.option(
    "--target",
    default="apart",
    metavar="apart|positive-margin",
    help="positive-margin: also the least changes after which every class wins its own samples, "
    "own logit with bias above all others.  [default: apart]",
)
@click.option(
    "--features",
    default="free",
    metavar="free|nonnegative",
    help="Of positive margins: features free to be negative, or after a ReLU.  [default: free]",
)
@click.option(
    "--logit-margin",
    type=float,
    default=0.0,
    help="By how much the own logit must exceed the others for positive-margin.  [default: 0]",
)
@click.option(
    "--tol", type=float, default=1e-5, help="Relative duality gap to reach.  [default: 1e-05]"
)
@click.option("--threads", type=int, help="Threads to use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=OUTPUT_PATH, help="Write a report for a browser to this file.")
def advise(
    problem: tuple[Counts, list[str] | None],
    lambda_z: LambdaZ | None,
    weight_decay: float | None,
    feature_decay: float | None,
    feature_penalty: str,
    lambda_b: float,
    margin: float,
    protect: str,
    target: str,
    features: str,
    logit_margin: float,
    tol: float,
    threads: int | None,
    as_json: bool,
    html: Path | None,
) -> int:
    """Which classes merge, and what prevents it: confirmed by solving.

    Exit status 1 means that a solve did not converge or contradicts the advice.
    """
    if html is not None:
        from ufm.planning.report import check_report_path

        check_report_path(html)
    counts, names = problem
    with _Steps() as steps:
        advice = ufm.advise(
            counts,
            lambda_z=None if lambda_z is None else lambda_z.value(counts),
            weight_decay=weight_decay,
            feature_decay=feature_decay,
            feature_penalty=feature_penalty,
            lambda_b=lambda_b,
            margin=margin,
            protect=protect,
            target=target.replace("-", "_"),
            features=features,
            logit_margin=logit_margin,
            names=names,
            tol=tol,
            threads=threads,
            progress=steps.callback,
        )
    if html is not None:
        advice.save_html(html)
    if as_json:
        output.print_json(advice.to_dict())
    else:
        print_advice(output.console(), advice)
        if html is not None:
            output.console().print(f"report: {html}", markup=False, highlight=False)
    return DONE if advice.confirmed else NOT_CONFIRMED


def print_advice(console: Console, advice: ufm.Advice) -> None:
    """The verdict, a row for each size or range of sizes, and the ways out."""
    console.print(
        f"{wording.sizes_line(advice)}, {wording.number(advice.num_samples)} samples",
        markup=False,
    )
    console.print(wording.penalties_line(advice), markup=False)
    console.print(
        f"classes of one size merge at or below {advice.merging_count:.4g} samples\n", markup=False
    )
    alarm = bool(advice.merged.any()) or advice.everything_collapsed
    console.print(Text(advice.verdict, style="bold red" if alarm else "green"))
    table = report._table(console)
    table.padding = (0, 1, 0, 0)  # ranges are wide
    for column in wording.COLUMNS:
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for part in wording.ranges(advice):
        table.add_row(*wording.row(part))
    console.print(table)
    found = options(advice)
    if found:
        heading = f"To keep classes apart (margin {advice.margin:.3g}), either:"
        _print_options(console, advice, heading, found)
    if advice.positive_margin is not None:
        lost = advice.positive_margin.needed
        told = margins.verdict(advice)
        console.print(Text(f"\n{told}", style="bold red" if lost else "green"))
        _print_options(console, advice, margins.heading(advice), margins.margin_options(advice))
    style = "dim" if advice.confirmed else "bold red"
    console.print(Text(wording.closing(advice), style=style))


def _print_options(console: Console, advice: ufm.Advice, heading: str, found: list[Option]) -> None:
    console.print(heading, markup=False)
    table = Table.grid(padding=(0, 2))
    for option in found:
        told = wording.confirmation(advice, option.check)
        style = "bold red" if "NOT" in told else "green"
        table.add_row(
            Text(option.name, style="bold"),
            Text.assemble(
                f"{option.action}\n", ("cost: ", "dim"), option.cost, ("; ", "dim"), (told, style)
            ),
        )
    console.print(table)


def class_names(text: str) -> list[str] | None:
    """The column ``name``, else ``class``, of a CSV file; None if `text` names no such file.

    The file has passed the reader of counts, which skips blank lines as this does.
    """
    if not os.path.isfile(text):  # a list may be longer than any file's name
        return None
    path = Path(text)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file, strict=True) if row]
    header = [name.strip() for name in rows[0]]
    column = next((header.index(name) for name in ("name", "class") if name in header), None)
    return None if column is None else [row[column].strip() for row in rows[1:]]


class _Steps:
    """Which solve is under way, shown to people only."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            self._bar = Bar(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=None)

    def callback(self, done: int, total: int, name: str) -> None:
        """What to pass as ``progress=``."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=name)

    def __enter__(self) -> _Steps:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        if self._bar is not None:
            self._bar.stop()
