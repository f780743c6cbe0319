"""The commands, and how their failures end.

Each command returns its exit status. `run` turns every expected failure into
one line on stderr and a status.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from pathlib import Path
from typing import Any, cast

import click

import ufm
from ufm import _core
from ufm.cli import output, report
from ufm.cli.advise import advise
from ufm.cli.compare import compare
from ufm.cli.figure import figure
from ufm.cli.options import OUTPUT_PATH, Counts, LambdaZ, to_counts, to_lambda_b, to_lambda_z
from ufm.cli.progress import Progress
from ufm.cli.sweep import sweep
from ufm.cli.train import train

DONE, NOT_CONVERGED, BAD_INPUT = 0, 1, 2
INTERNAL_ERROR, INTERRUPTED, PIPE_CLOSED = 70, 130, 141

counts_option = click.option(
    "--counts",
    callback=to_counts,
    metavar="LIST|FILE",
    required=True,
    help="Samples per class: a list such as 500x5,100x5 (five classes of 500, five of 100) or "
    "a CSV file with a column 'count'.",
)
lambda_b_option = click.option(
    "--lambda-b",
    callback=to_lambda_b,
    metavar="NUMBER",
    required=True,
    help="Weight of the bias penalty (lambda_b/2)|b|^2: positive; inf for no bias; 0 for a bias "
    "without penalty.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class _Ended(Exception):
    """Carries a status past click, which would treat the two causes in its own way."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            raise _Ended(INTERRUPTED) from None
        except BrokenPipeError:
            raise _Ended(PIPE_CLOSED) from None


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(ufm.__version__, "--version", message="ufm %(version)s")
@click.pass_context
def cli(context: click.Context) -> int:
    """Certified solutions of the unconstrained feature model.

    Exit status: 0 done, 1 ran but not converged, 2 bad input, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return DONE


@cli.command()
@counts_option
@click.option(
    "--lambda-z",
    callback=to_lambda_z,
    metavar="NUMBER",
    required=True,
    help="Weight of the nuclear norm: a positive number, or a multiple such as 0.1x of "
    "sqrt(smallest count) / N, the threshold at which the smallest classes merge.",
)
@lambda_b_option
@click.option(
    "--tol", type=float, default=1e-6, help="Relative duality gap to reach.  [default: 1e-06]"
)
@click.option(
    "--method",
    default="auto",
    metavar="NAME",
    help="auto, proximal, factored or continuum.  [default: auto]",
)
@click.option("--max-iterations", type=int, help="Stop after this many iterations.")
@click.option("--threads", type=int, help="Threads to use.")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Stop after this long.")
@json_option
@click.option("--plot", type=OUTPUT_PATH, help="Draw Z into this file (png, pdf, svg).")
def solve(
    counts: Counts,
    lambda_z: LambdaZ,
    lambda_b: float,
    tol: float,
    method: str,
    max_iterations: int | None,
    threads: int | None,
    time_limit: float | None,
    as_json: bool,
    plot: Path | None,
) -> int:
    """Solve one problem, with a duality gap as certificate."""
    if plot is not None:
        from ufm import figures

        figures.check_path(plot, "--plot")
    with Progress(tol) as progress:
        solution = ufm.solve(
            counts,
            lambda_z.value(counts),
            lambda_b,
            tol=tol,
            method=method,
            max_iterations=max_iterations,
            threads=threads,
            time_limit=time_limit,
            progress=progress.callback,
        )
    if as_json:
        output.print_json(solution.to_dict())
    else:
        report.print_solution(output.console(), solution)
    if plot is not None:
        figures.save(figures.heatmap(solution), plot)
        if not as_json:
            output.console().print(f"picture: {plot}", markup=False, highlight=False)
    return exit_status(solution)


@cli.command()
@counts_option
@lambda_b_option
@json_option
def thresholds(counts: Counts, lambda_b: float, as_json: bool) -> int:
    """Where the classes of each cluster merge or keep the bias alone, and where Z vanishes."""
    found = ufm.thresholds(counts, lambda_b)
    alone = ufm.bias_only_thresholds(counts, lambda_b) if lambda_b < math.inf else None
    if as_json:
        record = found.to_dict()
        record["decoupling"] = None if alone is None else alone.decoupling
        for i, cluster in enumerate(record["clusters"]):
            cluster["bias_only"] = None if alone is None else alone.clusters[i].bias_only
        output.print_json(record)
    else:
        report.print_thresholds(output.console(), found, alone)
    return DONE


@cli.command()
@click.option(
    "--output",
    "folder",
    type=OUTPUT_PATH,
    default=Path("ufm-demo"),
    help="Folder for the pictures.  [default: ./ufm-demo]",
)
@click.option("--quick", is_flag=True, help="Fewer problems, for a first look.")
def demo(folder: Path, quick: bool) -> int:
    """Minority collapse on built-in class sizes and in real networks, with pictures."""
    from ufm.cli.demo import run_demo

    return DONE if run_demo(output.console(), folder, quick=quick) else NOT_CONVERGED


cli.add_command(sweep)
cli.add_command(advise)
cli.add_command(compare)
cli.add_command(figure)
cli.add_command(train)


def exit_status(solution: ufm.Solution) -> int:
    """The exit status that a solution stands for."""
    if solution.status is ufm.Status.INTERRUPTED:
        return INTERRUPTED
    return DONE if solution.converged else NOT_CONVERGED


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    output.make_streams_safe()
    try:
        return cast(int, cli.main(arguments, prog_name="ufm", standalone_mode=False))
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "ufm"
        return _fail(error.format_message(), where)
    except click.ClickException as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except _Ended as end:
        return _interrupted() if end.status == INTERRUPTED else _pipe_closed()
    except OSError as error:
        name = f" '{error.filename}'" if error.filename is not None else ""
        return _fail(f"cannot use{name}: {error.strerror}" if error.strerror else str(error))
    except (ValueError, TypeError, ImportError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__)
    except Exception:
        # A fault of ours: the traceback helps, and status 1 would mean something else.
        traceback.print_exc()
        return INTERNAL_ERROR


def _fail(message: str, where: str = "ufm") -> int:
    """One line on stderr, whatever the message looks like."""
    print(f"{where}: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT


def _interrupted() -> int:
    print("ufm: interrupted", file=sys.stderr)
    if _core.count_abandoned():
        # An orderly exit would wait for the decomposition that was given up.
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    return INTERRUPTED


def _pipe_closed() -> int:
    """Quietly end like other programs whose reader has left."""
    # Python would complain once more when it flushes stdout at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
