"""What every ``ufm figure`` command does with its picture and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ufm.cli import output
from ufm.cli.options import OUTPUT_PATH

DONE, NOT_CONVERGED = 0, 1

picture_option = click.option(
    "--out",
    type=OUTPUT_PATH,
    help="Picture to write (png, pdf, svg).  [default: ./figureNAME.png; none with --json]",
)
numbers_option = click.option(
    "--numbers",
    type=OUTPUT_PATH,
    help="Also write the numbers behind the picture into this file (csv, json).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def checked_paths(
    out: Path | None, numbers: Path | None, default: str, as_json: bool
) -> Path | None:
    """Where the picture goes, None where none is asked for; both paths checked early."""
    from ufm import figures

    if numbers is not None:
        figures.check_numbers_path(numbers, "--numbers")
    if out is None and as_json:
        return None
    return figures.check_path(Path(default) if out is None else out, "--out")


def finish(
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
