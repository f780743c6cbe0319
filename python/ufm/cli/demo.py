"""``ufm demo``: minority collapse on class sizes known by formula.

The first problem is the one of Hong and Ling (arXiv:2309.09725): five classes
of 500 samples, five of 100, lambda_b = 0.02. lambda_z crosses the thresholds
sqrt(100)/N = 0.0033333 and sqrt(500)/N = 0.0074536, N = 3000.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import ufm
from ufm import figures
from ufm.cli import report
from ufm.cli.demo_network import run_networks
from ufm.cli.progress import Progress
from ufm.counts import EXAMPLES
from ufm.figures._canvas import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAMBDA_B = 0.02
TOL = 1e-6
MINORITY_LAMBDAS = (0.0027, 0.0033, 0.0039, 0.0051, 0.0075)
PATH_ENDS = (0.002, 0.009)
TAIL_MULTIPLES = (0.3, 1.0, 3.0)


def run_demo(console: Console, folder: Path, *, quick: bool = False) -> bool:
    """Solve the built-in problems, print their summaries, write the pictures.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    folder : pathlib.Path
        Where the pictures go; made if it does not exist.
    quick : bool
        Only the first problem, with fewer values of lambda_z, and no networks.

    Returns
    -------
    bool
        Whether every solve converged and every network was trained to its end.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    OSError
        If the folder cannot be made or written to.
    """
    require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))
    pictures: dict[str, Figure] = {}
    solutions = _minority(console, pictures, points=12 if quick else 48)
    if not quick:
        solutions += _long_tail(console, pictures)
    for name, figure in pictures.items():
        path = figures.save(figure, folder / name)
        console.print(f"picture: {path}", markup=False, soft_wrap=True)
    trained = True if quick else run_networks(console, folder)
    return trained and all(solution.converged for solution in solutions)


def _minority(console: Console, pictures: dict[str, Figure], points: int) -> list[ufm.Solution]:
    """The paper's problem: both clusters at each lambda_z, heat maps, path."""
    example = EXAMPLES["minority"]
    console.rule(f"minority collapse: {example.title}", align="left", style="dim")
    solutions = _solve_all(example.counts, MINORITY_LAMBDAS)
    console.print(report.path_table(console, solutions))
    console.print("Classes of one size merge where lambda_z >= sqrt(size) / N.")
    path = _solve_all(example.counts, _path_lambdas(example.counts, points))
    pictures["minority-collapse.png"] = figures.heatmaps(solutions)
    pictures["minority-path.png"] = figures.collapse_path(path)
    return solutions + path


def _long_tail(console: Console, pictures: dict[str, Figure]) -> list[ufm.Solution]:
    """A long-tailed list, around the threshold of its smallest classes."""
    example = EXAMPLES["cifar100-lt"]
    counts = example.counts
    unit = math.sqrt(float(counts.min())) / float(counts.sum())
    console.print()
    console.rule(f"long tail: {example.title}", align="left", style="dim")
    solutions = _solve_all(counts, [multiple * unit for multiple in TAIL_MULTIPLES])
    console.print(report.path_table(console, solutions))
    console.rule(f"clusters at lambda_z = {solutions[-1].lambda_z:.4g}", align="left", style="dim")
    report.print_solution(console, solutions[-1])
    pictures["long-tail.png"] = figures.heatmaps(solutions)
    return solutions


def _path_lambdas(counts: NDArray[np.float64], points: int) -> list[float]:
    """Evenly spaced values, and both sides of each threshold, where curves have kinks."""
    kinks = [cluster.collapse for cluster in ufm.thresholds(counts, LAMBDA_B).clusters]
    sides = np.outer(kinks, [1 - 1e-3, 1 + 1e-3]).ravel()
    values: list[float] = np.union1d(np.geomspace(*PATH_ENDS, points), sides).tolist()
    return values


def _solve_all(counts: NDArray[np.float64], lambdas: Sequence[float]) -> list[ufm.Solution]:
    """One solution for each lambda_z; counts of shape (K,)."""
    solutions = []
    for lambda_z in lambdas:
        with Progress(TOL) as progress:
            solutions.append(
                ufm.solve(counts, lambda_z, LAMBDA_B, tol=TOL, progress=progress.callback)
            )
    return solutions
