"""``ufm compare``: a stored run beside the model's prediction."""

from __future__ import annotations

from pathlib import Path

import click

from ufm.cli import output
from ufm.cli.options import OUTPUT_PATH


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN_FOLDER")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=OUTPUT_PATH, help="Draw Z into this file (png, pdf, svg).")
@click.option(
    "--tol", type=float, default=1e-8, help="Relative duality gap to reach.  [default: 1e-08]"
)
def compare(folder: Path, as_json: bool, plot: Path | None, tol: float) -> int:
    """Compare a trained network with the theory, free and nonnegative features.

    RUN_FOLDER is the folder of one run, as `ufm train` writes it.
    """
    if plot is not None:
        from ufm import figures

        figures.check_path(plot, "--plot")
    from ufm.torch import compare_run

    found = compare_run(folder, tol=tol)
    console = output.console()
    if as_json:
        output.print_json(found.to_dict())
    else:
        console.print(found.summary(), markup=False, highlight=False, soft_wrap=True)
    if plot is not None:
        found.plot(plot)
        if not as_json:
            console.print(f"picture: {plot}", markup=False, highlight=False, soft_wrap=True)
    return 0 if found.converged else 1
