"""Figures 1 to 9 of Hong and Ling (arXiv 2309.09725) from folders of trained networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ufm.figures._paper import VECTORS
from ufm.figures._runs import RunResult, read_runs
from ufm.problem import check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ufm.torch.config import RunConfig
    from ufm.torch.protocol import Protocol

NUMBERS = {
    1: "nc1",
    2: "standardised",
    3: "errors",
    4: "beside",
    5: "panels",
    6: "panels",
    7: "panels",
    8: "panels",
    9: "cosines",
}
KINDS = (*dict.fromkeys(NUMBERS.values()), "spread", "accuracy")
MISSING = "missing"
_MOST_NAMES = 3


@dataclass(frozen=True, eq=False)
class RunsFigure:
    """Runs of one protocol beside the theory, and the picture to draw of them.

    Attributes
    ----------
    kind : str
        "nc1" (figure 1), "standardised" (figure 2: Z, each scaled to 0 to 1), "errors" (figure 3),
        "beside" (figure 4: Z beside both predictions), "panels" (figures 5 to 8), "cosines"
        (figure 9), "spread" (spread of the smallest classes and error of Z against lambda_z over
        the threshold) or "accuracy" (on test images, by cluster).
    results : list of RunResult
        The finished runs.
    vectors : str
        Which vectors of Z cosines are taken of, "columns" or "rows".
    left_out : dict of str to str
        Runs of the protocol that are not shown, and why: "missing", "running" (interrupted, or
        still under way), "diverged", or "no final.npz" (its result was lost). Where no protocol is
        known, runs that lost "run.json" or "final.npz".
    """

    kind: str
    results: list[RunResult]
    vectors: str = "columns"
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def converged(self) -> bool:
        """Whether theory's problem was solved to its tolerance for every run."""
        return all(found.theory.converged for found in self.results)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a run, rounded to six digits; see `RunResult.record`."""
        rows = [found.record(self.vectors) for found in self.results]
        return [{name: _rounded(value) for name, value in row.items()} for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {
            "kind": self.kind,
            "vectors": self.vectors,
            "converged": self.converged,
            "left_out": dict(self.left_out),
            "runs": self.records(),
        }

    def draw(self) -> Figure:
        """The picture, in a new figure.

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra.
        """
        from ufm.figures import _runs_curves, _runs_draw

        if self.kind == "cosines":
            return _runs_curves.cosines(self.results, self.vectors)
        home = _runs_draw if hasattr(_runs_draw, self.kind) else _runs_curves
        draw: Callable[[list[RunResult]], Figure] = getattr(home, self.kind)
        return draw(self.results)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def runs_figure(
    kind: int | str,
    folder: str | os.PathLike[str],
    *,
    protocol: Protocol | str | os.PathLike[str] | None = None,
    mode: str = "corrected",
    vectors: str | None = None,
) -> RunsFigure:
    """Put the finished runs of a protocol's folder beside the theory.

    Parameters
    ----------
    kind : int or str
        Number of one of the paper's figures 1 to 9, or a kind of `RunsFigure`.
    folder : str or path-like
        Holds folders of runs, as ``ufm train`` leaves them.
    protocol : Protocol, str or path-like, optional
        Show the runs of this protocol alone, see :func:`ufm.torch.load_protocol`; every finished
        run in the folder by default.
    mode : str
        Of the protocol's runs, "corrected" or "as_published".
    vectors : {"columns", "rows"}, optional
        What figure 9 takes cosines of; by default columns of Z, and rows, as the published code
        does, where all runs are "as_published".

    Returns
    -------
    RunsFigure
        Runs that have not come to their end are left out; ``left_out`` names those of `protocol`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If there is no such figure, the folder does not exist or holds no finished run, or a run
        in it has the name of the protocol's and another configuration.
    ImportError
        If PyTorch is missing; the message names the extra.
    """
    if isinstance(kind, int) and not isinstance(kind, bool):
        if kind not in NUMBERS:
            raise ValueError(f"kind: the paper's figures are 1 to {max(NUMBERS)}, got {kind}")
        kind = NUMBERS[kind]
    kind = check_choice("kind", kind, KINDS)
    if vectors is not None:
        check_choice("vectors", vectors, VECTORS)
    left_out: dict[str, str] = {}
    names = None
    if protocol is not None:
        configs = runs_of(protocol, mode)
        names = [config.name for config in configs]
        left_out = unfinished(configs, folder)
        if len(left_out) == len(names):
            raise ValueError(
                f"runs: '{folder}' holds no finished run of the protocol: {listed(left_out)}"
            )
    results = read_runs(Path(folder), names)
    if protocol is None:
        left_out = damaged(folder)
    if vectors is None:
        published = all(found.run.config.mode == "as_published" for found in results)
        vectors = "rows" if published else "columns"
    return RunsFigure(kind, results, vectors, left_out)


def runs_of(protocol: Protocol | str | os.PathLike[str], mode: str) -> list[RunConfig]:
    """The runs of a protocol, given itself or by its name or file."""
    from ufm.torch import load_protocol

    if isinstance(protocol, (str, os.PathLike)):
        protocol = load_protocol(protocol)
    return protocol.runs(mode)


def unfinished(
    configs: list[RunConfig], folder: str | os.PathLike[str], strict: bool = True
) -> dict[str, str]:
    """Runs that `folder` does not hold finished, by name, and why: see `RunsFigure`.

    Raises
    ------
    ValueError
        If `strict` and the folder holds a run of a name in `configs` and of another configuration.
    """
    from ufm.torch.run_folder import CONFIG, FINAL, load_state, read_config

    found = {}
    for config in configs:
        path = Path(folder) / config.name
        if strict and (path / CONFIG).is_file() and read_config(path) != config:
            raise ValueError(
                f"runs: {path} holds a run of another configuration than the protocol's; choose "
                "another folder"
            )
        try:
            status = str(load_state(path).get("status"))
        except (OSError, ValueError):
            status = MISSING
        if status == "finished" and not (path / FINAL).is_file():
            status = f"no {FINAL}"
        if status != "finished":
            found[config.name] = status
    return found


def damaged(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Runs in `folder` that lost the file which tells their state or their result, and which."""
    from ufm.torch.run_folder import CONFIG, FINAL, STATE, load_state

    found = {}
    for config in sorted(Path(folder).glob(f"*/{CONFIG}")):
        path = config.parent
        if not (path / STATE).is_file():
            found[path.name] = f"no {STATE}"
        elif not (path / FINAL).is_file() and load_state(path)["status"] == "finished":
            found[path.name] = f"no {FINAL}"
    return found


def listed(left_out: dict[str, str]) -> str:
    """The first names of runs that are left out, and how many more there are."""
    names = [name if why == MISSING else f"{name} ({why})" for name, why in left_out.items()]
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown
