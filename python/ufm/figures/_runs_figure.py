"""Figures 1, 3 and 5 to 9 of Hong and Ling (arXiv 2309.09725) from folders of trained networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ufm.figures._runs import RunResult, read_runs
from ufm.problem import check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("nc1", "errors", "panels", "spread", "cosines", "accuracy")
NUMBERS = {1: "nc1", 3: "errors", 5: "panels", 6: "panels", 7: "panels", 8: "panels", 9: "cosines"}


@dataclass(frozen=True, eq=False)
class RunsFigure:
    """Runs of one protocol beside the theory, and the picture to draw of them.

    Attributes
    ----------
    kind : str
        "nc1" (figure 1), "errors" (figure 3), "panels" (figures 5 to 8), "cosines" (figure 9),
        "spread" (spread of the smallest classes and error of Z against lambda_z over the
        threshold) or "accuracy" (on test images, by cluster).
    results : list of RunResult
        The finished runs.
    """

    kind: str
    results: list[RunResult]

    @property
    def converged(self) -> bool:
        """Whether theory's problem was solved to its tolerance for every run."""
        return all(found.theory.converged for found in self.results)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a run, rounded to six digits; see `RunResult.record`."""
        rows = [found.record() for found in self.results]
        return [{name: _rounded(value) for name, value in row.items()} for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {"kind": self.kind, "converged": self.converged, "runs": self.records()}

    def draw(self) -> Figure:
        """The picture, in a new figure.

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra.
        """
        from ufm.figures import _runs_draw

        draw: Callable[[list[RunResult]], Figure] = getattr(_runs_draw, self.kind)
        return draw(self.results)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def runs_figure(kind: int | str, folder: str | os.PathLike[str]) -> RunsFigure:
    """Put the finished runs of a protocol's folder beside the theory.

    Parameters
    ----------
    kind : int or str
        Number of one of the paper's figures 1, 3 and 5 to 9, or a kind of `RunsFigure`.
    folder : str or path-like
        Holds folders of runs, as ``ufm train`` leaves them.

    Returns
    -------
    RunsFigure
        Runs that have not come to their end are left out.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If there is no such figure, the folder does not exist or holds no finished run.
    ImportError
        If PyTorch is missing; the message names the extra.
    """
    if isinstance(kind, int) and not isinstance(kind, bool):
        if kind not in NUMBERS:
            allowed = ", ".join(map(str, NUMBERS))
            raise ValueError(f"kind: figures from runs are {allowed}, got {kind}")
        kind = NUMBERS[kind]
    return RunsFigure(check_choice("kind", kind, KINDS), read_runs(Path(folder)))
