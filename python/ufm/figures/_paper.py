"""The theory's side of figures 5 to 9 of Hong and Ling (arXiv 2309.09725), solved and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ufm.figures._panels import MODES, Panel, check_number, panels_of
from ufm.problem import FloatArray, check_choice, check_positive
from ufm.solution import BoolArray, Solution
from ufm.solver import solve
from ufm.theory.nonnegative import nonnegative_solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEATURES = ("free", "nonnegative")
VECTORS = ("columns", "rows")
LIMIT_FIGURE = 9

# What a panel shows of its minority, the classes of B.
SEPARATE = "not collapsed"
MERGED = "collapsed"
ZERO = "collapsed to zero"
ALL_ZERO = "all classes at zero"


@dataclass(frozen=True, eq=False)
class PaperFigure:
    """The solved problems of one figure of the paper.

    Attributes
    ----------
    number : int
        5 to 9.
    features : str
        "free", or "nonnegative" where features come after a ReLU.
    mode : str
        "corrected", or "as_published" with the weight decay of the published runs.
    vectors : str
        Which vectors of Z figure 9 takes cosines of: "columns", one a class, or "rows".
    panels : list of Panel
        The problems.
    solutions : list of Solution
        One a panel.
    """

    number: int
    features: str
    mode: str
    vectors: str
    panels: list[Panel]
    solutions: list[Solution]

    @property
    def converged(self) -> bool:
        """Whether every panel was solved to its tolerance."""
        return all(solution.converged for solution in self.solutions)

    def records(self) -> list[dict[str, Any]]:
        """The numbers behind the picture, one dictionary a panel; see `record`."""
        records = [record(*pair) for pair in zip(self.panels, self.solutions, strict=True)]
        if self.number == LIMIT_FIGURE:
            for row, solution in zip(records, self.solutions, strict=True):
                names = ("cosine_inside_a", "cosine_inside_b", "cosine_between")
                row.update(zip(names, mean_cosines(solution, self.vectors), strict=True))
        return records

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {
            "figure": self.number,
            "features": self.features,
            "mode": self.mode,
            "vectors": self.vectors if self.number == LIMIT_FIGURE else None,
            "converged": self.converged,
            "panels": self.records(),
        }

    def draw(self) -> Figure:
        """The picture, in a new figure.

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra.
        """
        from ufm.figures import _paper_draw

        if self.number == LIMIT_FIGURE:
            return _paper_draw.limit_figure(self)
        return _paper_draw.panel_figure(self)


def solve_paper_figure(
    number: int,
    *,
    features: str = "free",
    mode: str = "corrected",
    vectors: str | None = None,
    tol: float = 1e-6,
) -> PaperFigure:
    """Solve the problems of one of the paper's figures 5 to 9.

    Parameters
    ----------
    number : int
        Figures 5 and 6 vary lambda_z, 7 and 8 the larger count n_A, 9 all counts.
    features : {"free", "nonnegative"}
        Signed features, `ufm.solve`, or features after a ReLU, `ufm.nonnegative_solution`.
    mode : {"corrected", "as_published"}
        Whether figure 9 has lambda_z = 0.1/N and cosines of columns of Z, or, as in the authors'
        published code, weight decay 5e-4 in addition and cosines of rows. Figures 5 to 8 have no
        weight decay and are the same in both.
    vectors : {"columns", "rows"}, optional
        Overrides what `mode` says of the cosines in figure 9.
    tol : float
        Relative duality gap to reach in each panel.

    Returns
    -------
    PaperFigure
        ``converged`` says whether every panel reached `tol`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed; the message names it.
    """
    number = check_number(number)
    mode = check_choice("mode", mode, MODES)
    if vectors is None:
        vectors = "columns" if mode == "corrected" else "rows"
    vectors = check_choice("vectors", vectors, VECTORS)
    tol = check_positive("tol", tol)
    features = check_choice("features", features, FEATURES)
    solver = solve if features == "free" else nonnegative_solution
    panels = panels_of(number, mode)
    solutions = [solver(panel.counts, panel.lambda_z, panel.lambda_b, tol=tol) for panel in panels]
    return PaperFigure(number, features, mode, vectors, panels, solutions)


def paper_figure(number: int, **options: Any) -> Figure:
    """Draw one of the paper's figures 5 to 9 as the theory has it.

    Parameters
    ----------
    number : int
        5 to 9.
    **options
        Those of `solve_paper_figure`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure; `ufm.figures.save` or ``savefig`` writes it.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError, TypeError
        If an argument is not allowed; the message names it.
    """
    from ufm.figures._canvas import require_matplotlib

    require_matplotlib()
    return solve_paper_figure(number, **options).draw()


def record(panel: Panel, solution: Solution) -> dict[str, Any]:
    """The numbers of one panel: problem, certificate, verdict, and Z and b by blocks.

    ``z_aa`` and ``z_bb`` are own-class entries of Z, ``z_aa_other`` and ``z_bb_other`` those
    between two classes of one size, ``z_ab`` the logit of a class of A in the prediction of a
    class of B and ``z_ba`` the reverse. Together they are all of Z.
    """
    blocks = solution.blocks
    a, b = int(blocks.cluster_of[0]), int(blocks.cluster_of[-1])
    return {
        "n_a": panel.count_a,
        "n_b": panel.count_b,
        "k_a": panel.classes_a,
        "k_b": panel.classes_b,
        "lambda_z": panel.lambda_z,
        "lambda_b": panel.lambda_b,
        "threshold": panel.threshold,
        "lambda_z_over_threshold": panel.lambda_z / panel.threshold,
        "verdict": verdict(solution),
        "collapsed_classes": int(solution.collapsed.sum()),
        "objective": solution.objective,
        "relative_gap": solution.relative_gap,
        "status": solution.status.name,
        "z_aa": float(blocks.own[a]),
        "z_aa_other": float(blocks.between[a, a]),
        "z_ab": float(blocks.between[a, b]),
        "z_ba": float(blocks.between[b, a]),
        "z_bb": float(blocks.own[b]),
        "z_bb_other": float(blocks.between[b, b]),
        "b_a": float(solution.b[0]),
        "b_b": float(solution.b[-1]),
    }


def verdict(solution: Solution) -> str:
    """What became of the smallest classes, in a few words."""
    if not solution.blocks.own.any() and not solution.blocks.between.any():
        return ALL_ZERO
    if not solution.collapsed[-1]:
        return SEPARATE
    return MERGED if solution.column(solution.num_classes - 1).any() else ZERO


def mean_cosines(solution: Solution, vectors: str = "columns") -> tuple[float, float, float]:
    """Mean cosines between mean predictions inside A, inside B, and between the two.

    Parameters
    ----------
    solution : Solution
        Of a problem with one or two sizes; A are the classes of the size of class 0.
    vectors : {"columns", "rows"}
        Columns of Z are the mean predictions of the classes. Rows, one logit over the classes,
        are what the paper's published code compares.

    Returns
    -------
    tuple of float
        Cosines inside A, inside B and between; NaN where there is no pair or a vector is zero.

    Raises
    ------
    ValueError, TypeError
        If `vectors` is not one of the two.
    """
    Z = solution.Z if check_choice("vectors", vectors, VECTORS) == "columns" else solution.Z.T
    in_a = solution.cluster_of == solution.cluster_of[0]
    norms = np.linalg.norm(Z, axis=0)
    directions = Z / np.where(norms > 0, norms, np.nan)
    cosines = directions.T @ directions
    inside_a = _mean_off_diagonal(cosines, in_a, in_a)
    inside_b = _mean_off_diagonal(cosines, ~in_a, ~in_a)
    return inside_a, inside_b, _mean_off_diagonal(cosines, in_a, ~in_a)


def _mean_off_diagonal(cosines: FloatArray, rows: BoolArray, columns: BoolArray) -> float:
    pairs = np.outer(rows, columns) & ~np.eye(len(rows), dtype=bool)
    return float(cosines[pairs].mean()) if pairs.any() else float("nan")
