"""``ufm train``: the runs of a protocol, trained where missing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from ufm.cli import output
from ufm.cli.options import OutputPath

if TYPE_CHECKING:
    from ufm.torch.config import RunConfig
    from ufm.torch.run_folder import Run
    from ufm.torch.training import Report


@click.command()
@click.argument("protocol", required=False)
@click.option(
    "--out",
    type=OutputPath(file_okay=False),
    default=Path("runs"),
    help="Folder of runs; each protocol has a folder in it.  [default: ./runs]",
)
@click.option(
    "--mode",
    default="corrected",
    metavar="NAME",
    help="corrected, or as_published: with the quirks of the paper's published code.",
)
@click.option("--only", metavar="TEXT", help="Only runs whose name contains this.")
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...  [default: cuda if there]")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of PyTorch on the CPU.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    help="Runs trained at the same time, each in a process of its own.  [default: 1]",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of networks, batches and images.")
@click.option("--list", "only_list", is_flag=True, help="List protocols, or the runs of one.")
@click.option(
    "--check",
    is_flag=True,
    help="Take a few steps of each run, write nothing, and tell how long the runs would take.",
)
def train(
    protocol: str | None,
    out: Path,
    mode: str,
    only: str | None,
    device: str | None,
    threads: int | None,
    jobs: int,
    seed: int | None,
    only_list: bool,
    check: bool,
) -> int:
    """Train the networks of PROTOCOL, a name or a .toml file.

    Runs that are finished are left alone; one that was interrupted goes on from its last
    checkpoint. Without PROTOCOL the protocols that come with ufm are listed.
    """
    from ufm.torch import load_protocol, protocol_names

    console = output.console()
    if protocol is None:
        for name in protocol_names():
            console.print(f"{name:24s} {load_protocol(name).title}", soft_wrap=True)
        return 0
    found = load_protocol(protocol)
    folder = out / found.name if mode == "corrected" else out / f"{found.name}-{mode}"
    configs = [config for config in found.runs(mode) if only is None or only in config.name]
    if not configs:
        raise click.UsageError(f"no run of {protocol} has {only!r} in its name")
    if only_list:
        for config in configs:
            console.print(config.name, soft_wrap=True)
        return 0
    if seed is not None:
        configs = [_with_seed(config, seed) for config in configs]
    if check:
        return _check(console, configs, device=device, threads=threads)
    return train_runs(console, configs, folder, device=device, threads=threads, jobs=jobs)


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    return dataclasses.replace(
        config,
        name=f"{config.name}_seed={seed}",
        seed=seed,
        data=dataclasses.replace(config.data, seed=seed),
    )


def _check(
    console: Console, configs: list[RunConfig], *, device: str | None, threads: int | None
) -> int:
    """Rehearse every run; 1 if a loss is not finite."""
    import torch

    from ufm.torch import rehearse

    if threads is not None:
        torch.set_num_threads(threads)
    if device is None and torch.cuda.is_available():
        device = "cuda"
    seconds, works = 0.0, True
    for config in configs:
        found = rehearse(config, device=device)
        seconds += found.seconds
        works = works and found.works
        console.print(
            f"{found.name}: {'works' if found.works else 'LOSS NOT FINITE'} on {found.device}, "
            f"{found.parameters / 1e6:.2f} M parameters, N = {sum(found.counts)}, "
            f"lambda_z = {found.lambda_z:.4g}, lambda_b = {found.lambda_b:.4g}, "
            f"{found.steps} steps of {1e3 * found.seconds_per_step:.3g} ms: "
            f"{_duration(found.seconds)}",
            soft_wrap=True,
            markup=False,
        )
    console.print(
        f"{len(configs)} runs: {_duration(seconds)}, one after the other, without measurements"
    )
    return 0 if works else 1


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def train_runs(
    console: Console,
    configs: list[RunConfig],
    folder: Path,
    *,
    device: str | None,
    threads: int | None,
    jobs: int,
) -> int:
    """Train those of `configs` that `folder` does not hold, a line for each; the exit status."""
    import torch

    from ufm.torch.run_folder import check_config, is_done, load_state
    from ufm.torch.several import train_many

    if threads is not None:
        torch.set_num_threads(threads)
    # Under torchrun each process takes its own device, and the first one reports.
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if jobs > 1 and not alone:
        raise click.UsageError("--jobs does not go with torchrun, whose processes share each run")
    if device is None and alone and torch.cuda.is_available():
        device = "cuda"
    if int(os.environ.get("RANK", "0")) > 0:
        console.quiet = True
    for config in configs:
        check_config(folder / config.name, config)  # finished runs too, and before any work
    missing = [config for config in configs if not is_done(folder / config.name)]
    known = len(configs) - len(missing)
    with TrainingBar(known, len(configs)) as bar:
        runs = train_many(missing, folder, jobs=jobs, device=device, progress=bar.callback)
        for number, run in enumerate(runs, start=known + 1):
            bar.finished(run.config.name)
            console.print(f"{number}/{len(configs)} {_line(run)}", soft_wrap=True, markup=False)
    console.print(f"{len(configs)} runs in {folder}", soft_wrap=True, markup=False)
    states = [load_state(folder / config.name)["status"] for config in configs]
    return 0 if all(status == "finished" for status in states) else 1


def _line(run: Run) -> str:
    """One finished run in a line."""
    last = {name: column[-1] for name, column in run.metrics.items()}
    return (
        f"{run.config.name}: {run.status} in {run.state['seconds']:.0f} s, "
        f"objective {last['objective']:.6f}, NC1 {last['nc1']:.2e}, "
        f"error of Z {last['error_Z']:.4f}, of b {last['error_b']:.4f}"
    )


class _Pace:
    """How long something takes to its end, from how far it came since it was first seen."""

    def __init__(self, part: float) -> None:
        self._first = part
        self._start = time.monotonic()

    def left(self, part: float, whole: float = 1.0) -> str:
        """Time left when `part` of `whole` is done."""
        gained = part - self._first
        if gained <= 0:
            return "?"
        seconds = (whole - part) * (time.monotonic() - self._start) / gained
        return str(datetime.timedelta(seconds=round(seconds)))


class TrainingBar:
    """Progress of the runs at hand and of all, shown when stderr is a terminal.

    Parameters
    ----------
    done, total : int
        Runs that are finished already, and in all.
    """

    def __init__(self, done: int, total: int) -> None:
        self._done = done
        self._total = total
        self._bar: Bar | None = None
        self._tasks: dict[str, Any] = {}
        self._reached: dict[str, float] = {}  # part of each run at hand, 0 to 1
        self._paces: dict[str, _Pace] = {}
        self._watched = sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"

    @property
    def callback(self) -> Callable[[Report], None] | None:
        """What to pass as ``progress=``: nothing when nobody watches."""
        return self._update if self._watched else None

    def finished(self, name: str) -> None:
        """Count a run as finished, and take the bars away so that a line can be printed."""
        self._stop()
        self._done += 1
        self._reached.pop(name, None)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._tasks = None, {}

    def _update(self, report: Report) -> None:
        self._reached[report.name] = report.epoch / report.epochs
        if self._bar is None:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[left]} left"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        whole = self._done + sum(self._reached.values())
        if self._total > 1:
            text = f"{self._done} of {self._total} runs done"
            self._show("", text, whole, float(self._total))
        text = (
            f"{report.name}  epoch {report.epoch}/{report.epochs}  "
            f"loss {report.loss:.5f}  NC1 {report.nc1:.1e}"
        )
        self._show(report.name, text, self._reached[report.name], 1.0)

    def _show(self, name: str, text: str, part: float, whole: float) -> None:
        """One line of the display: that of a run, or of all of them."""
        if self._bar is None:
            return
        pace = self._paces.setdefault(name, _Pace(part))
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(text, total=whole, left="?")
        left = pace.left(part, whole)
        self._bar.update(self._tasks[name], completed=part, description=text, left=left)
