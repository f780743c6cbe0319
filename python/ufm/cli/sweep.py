"""``ufm sweep``: every combination of parameters, into a netCDF or zarr dataset."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import ufm
from ufm.cli import output
from ufm.cli.options import OUTPUT_PATH, Counts, to_counts

if TYPE_CHECKING:
    import xarray as xr

_MOST_VALUES = 10_000_000
_PATIENCE = 0.5  # seconds without a bar


@dataclass(frozen=True)
class Values:
    """One number, or the several of a dimension; ``relative`` where they ended in x."""

    numbers: NDArray[np.float64]
    several: bool
    relative: bool = False

    @property
    def argument(self) -> Any:
        """What `ufm.sweep` takes."""
        return self.numbers if self.several else float(self.numbers[0])


class Numbers:
    """A number, a list ``a,b,c``, or ``start:stop:num`` (log-spaced; ``:lin`` at the end: even)."""

    def __init__(self, *, relative: bool = False, zero: bool = False) -> None:
        self._relative = relative
        self._zero = zero

    def __call__(
        self, context: click.Context, option: click.Parameter, text: str | None
    ) -> Values | None:
        """Parse the text of an option."""
        if text is None:
            return None
        try:
            return self._parse(text.strip().lower())
        except ValueError as error:
            raise click.BadParameter(f"{text!r:.80}: {error}", context, option) from None

    def _parse(self, text: str) -> Values:
        if ":" in text:
            numbers, relative = self._range(text.split(":"))
            return Values(numbers, several=True, relative=relative)
        items = [self._number(item) for item in text.split(",")]
        if len({relative for _, relative in items}) > 1:
            raise ValueError("either all or none of the values end in x")
        numbers = np.array([number for number, _ in items])
        return Values(numbers, several=len(items) > 1, relative=items[0][1])

    def _range(self, parts: list[str]) -> tuple[NDArray[np.float64], bool]:
        even = parts[-1] == "lin"
        if even:
            parts = parts[:-1]
        if len(parts) != 3:
            raise ValueError("a range is start:stop:num or start:stop:num:lin")
        (start, first), (stop, last) = (self._number(part) for part in parts[:2])
        if first != last:
            raise ValueError("both or none of the ends of a range end in x")
        if not parts[2].isdecimal() or not 2 <= int(parts[2]) <= _MOST_VALUES:
            raise ValueError(
                f"a range needs a number of values from 2 to {_MOST_VALUES}, got {parts[2]!r:.80}"
            )
        if not np.isfinite([start, stop]).all() or (not even and min(start, stop) <= 0):
            raise ValueError("the ends of a range are positive and finite")
        space = np.linspace if even else np.geomspace
        return space(start, stop, int(parts[2])), first

    def _number(self, text: str) -> tuple[float, bool]:
        text = text.strip()
        relative = self._relative and text.endswith("x")
        try:
            number = float(text[:-1] if relative else text)
        except ValueError:
            raise ValueError(f"{text!r:.80} is not a number") from None
        if self._zero:
            if not number >= 0:
                raise ValueError(f"{text:.80} is not a number >= 0 or inf")
        elif not 0 < number < np.inf:
            raise ValueError(f"{text:.80} is not positive and finite")
        return number, relative


@click.command()
@click.option(
    "--counts",
    callback=to_counts,
    metavar="LIST|FILE",
    required=True,
    help="Samples per class: a list such as 500x5,100x5 or a CSV file with a column 'count'.",
)
@click.option(
    "--lambda-z",
    metavar="VALUES",
    callback=Numbers(relative=True),
    required=True,
    help="Weights of the nuclear norm: a list, or START:STOP:NUM (log-spaced; START:STOP:NUM:lin "
    "evenly). With x (0.1x:3x:50) in units of sqrt(smallest count) / N.",
)
@click.option(
    "--lambda-b",
    metavar="VALUES",
    callback=Numbers(zero=True),
    required=True,
    help="Weights of the bias penalty, in the same way; inf: no bias.",
)
@click.option(
    "--ratio",
    metavar="VALUES",
    callback=Numbers(),
    help="Ratios of largest to smallest count that the counts are brought to, smallest kept.",
)
@click.option(
    "--out",
    type=OUTPUT_PATH,
    help="Dataset to write: .nc (netCDF) or .zarr. Finished parts are kept; the same command "
    "continues where an earlier one ended.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Solve in this many processes.  [default: threads of this one]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Solve on the dask cluster at this address.")
@click.option(
    "--tol", type=float, default=1e-6, help="Relative duality gap to reach.  [default: 1e-06]"
)
@click.option("--plot", type=OUTPUT_PATH, help="Draw the sweep into this file (png, pdf, svg).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sweep(
    counts: Counts,
    lambda_z: Values,
    lambda_b: Values,
    ratio: Values | None,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
    tol: float,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Solve every combination of parameters.

    Several values of an option make a dimension of the result.
    """
    if workers is not None and scheduler is not None:
        raise click.UsageError("give either --workers or --scheduler")
    given = (lambda_z, lambda_b, *(() if ratio is None else (ratio,)))
    if plot is not None:
        from ufm import figures

        figures.check_path(plot, "--plot")
        if sum(values.several for values in given) not in (1, 2):
            raise click.UsageError("--plot draws sweeps over one or two parameters")
    name = "relative_lambda_z" if lambda_z.relative else "lambda_z"
    begin = time.perf_counter()
    with _worker_deaths(), _executor(workers, scheduler) as executor, _bar() as report:
        dataset = ufm.sweep(
            counts,
            **{name: lambda_z.argument},
            lambda_b=lambda_b.argument,
            ratio=None if ratio is None else ratio.argument,
            executor=executor,
            store=out,
            tol=tol,
            progress=report,
        )
    taken = time.perf_counter() - begin
    if plot is not None:
        figures.save(figures.sweep(dataset), plot)
    converged = int((dataset["status"] == 0).sum())
    total = int(dataset["status"].size)
    if as_json:
        output.print_json(_record(dataset, converged, taken, out, plot))
    else:
        _print(dataset, converged, taken, out, plot)
    return 0 if converged == total else 1


@contextmanager
def _worker_deaths() -> Iterator[None]:
    """One line instead of a traceback when workers die again and again."""
    from ufm.planning.executors import WorkersLostError

    try:
        yield
    except WorkersLostError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _executor(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    if scheduler is None:
        yield workers
        return
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        if error.name != "distributed":
            raise
        raise ImportError('--scheduler needs dask: pip install "ufm[dask]"') from None
    try:
        client = cast(Any, Client)(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at '{scheduler}': {error}") from None
    with client:
        yield client


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar for people; False, which is silence, for pipes."""
    if not sys.stderr.isatty():
        yield False
        return
    bar = Bar(
        MofNCompleteColumn(),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("sweep", total=None)
    begin = time.monotonic()

    def report(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if not bar.live.is_started and time.monotonic() - begin > _PATIENCE:
            bar.start()

    try:
        yield report
    finally:
        bar.stop()


def _record(
    dataset: xr.Dataset, converged: int, taken: float, out: Path | None, plot: Path | None
) -> dict[str, Any]:
    ranks = dataset["rank"]
    return {
        "problems": int(ranks.size),
        "dimensions": {str(name): int(ranks.sizes[name]) for name in ranks.dims},
        "converged": converged,
        "largest_relative_gap": float(dataset["relative_gap"].max()),
        "tol": float(dataset.attrs["tol"]),
        "rank": [int(ranks.min()), int(ranks.max())],
        "seconds": taken,
        "out": None if out is None else str(out),
        "plot": None if plot is None else str(plot),
    }


def _print(
    dataset: xr.Dataset, converged: int, taken: float, out: Path | None, plot: Path | None
) -> None:
    record = _record(dataset, converged, taken, out, plot)
    console = output.console()
    sizes = " x ".join(f"{size} {name}" for name, size in record["dimensions"].items())
    lines = [
        f"problems       {record['problems']:,} ({sizes or 'one'}), {taken:.3g} s",
        f"converged      {converged:,}, largest relative gap {record['largest_relative_gap']:.1e} "
        f"(tol {record['tol']:.0e})",
        f"rank of Z      {record['rank'][0]} to {record['rank'][1]}",
    ]
    if out is not None:
        lines.append(f"dataset        {out}")
    if plot is not None:
        lines.append(f"picture        {plot}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
