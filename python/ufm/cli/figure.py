"""``ufm figure``: pictures of the theory, with their numbers on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ufm.cli import output

if TYPE_CHECKING:
    from ufm.figures import PaperFigure

DONE, NOT_CONVERGED = 0, 1

_COSINE = "cosine_inside_a"  # a column of figure 9 only


@click.command()
@click.argument("which", metavar="WHICH", type=click.Choice(["5", "6", "7", "8", "9"]))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Picture to write (png, pdf, svg).  [default: ./figureWHICH.png; none with --json]",
)
@click.option(
    "--features",
    type=click.Choice(["free", "nonnegative"]),
    default="free",
    help="Signed features, or features after a ReLU.  [default: free]",
)
@click.option(
    "--mode",
    type=click.Choice(["corrected", "as-published"]),
    default="corrected",
    help="Figure 9 with lambda_z = 0.1/N and cosines of columns of Z, or with the weight decay "
    "and the rows of the published runs.  [default: corrected]",
)
@click.option(
    "--vectors",
    type=click.Choice(["columns", "rows"]),
    help="Vectors of Z that figure 9 compares.  [default: by --mode]",
)
@click.option(
    "--numbers",
    type=click.Path(path_type=Path),
    help="Also write the numbers behind the picture into this file (csv, json).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON object.")
def figure(
    which: str,
    out: Path | None,
    features: str,
    mode: str,
    vectors: str | None,
    numbers: Path | None,
    as_json: bool,
) -> int:
    """Draw a figure of the theory.

    WHICH is a figure of Hong and Ling (arXiv 2309.09725): 5 and 6 vary lambda_z, 7 and 8 the
    larger count, 9 shows cosines between mean predictions as all counts grow.
    """
    from ufm import figures

    out = _picture_path(out, f"figure{which}.png", as_json)
    if numbers is not None:
        figures.check_numbers_path(numbers)
    solved = figures.solve_paper_figure(
        int(which), features=features, mode=mode.replace("-", "_"), vectors=vectors
    )
    written = []
    if out is not None:
        written.append(("picture", figures.save(solved.draw(), out)))
    if numbers is not None:
        path = figures.write_numbers(solved.to_dict(), solved.records(), numbers)
        written.append(("numbers", path))
    if as_json:
        output.print_json(solved.to_dict())
    else:
        _print(output.console(), solved, written)
    return DONE if solved.converged else NOT_CONVERGED


def _picture_path(out: Path | None, default: str, as_json: bool) -> Path | None:
    """Where the picture goes, checked; None where none is asked for."""
    if out is None and as_json:
        return None
    from ufm import figures

    return figures.check_path(Path(default) if out is None else out)


def _print(console: Console, solved: PaperFigure, written: list[tuple[str, Path]]) -> None:
    console.print(_table(solved))
    for what, path in written:
        console.print(f"{what}: {path}", markup=False, soft_wrap=True)


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
