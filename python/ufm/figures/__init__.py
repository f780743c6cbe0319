"""Pictures of solutions (extra ``plot``).

Every function makes its own `matplotlib.figure.Figure` or draws into the axes
it is given. None of them touches pyplot or a global setting, so they work
without a display and from several threads. Matplotlib is imported at the
first call.
"""

from ufm.figures._canvas import check_path, save
from ufm.figures._comparison import comparison
from ufm.figures._heatmap import heatmap, heatmaps
from ufm.figures._numbers import check_numbers_path, write_numbers
from ufm.figures._paper import PaperFigure, mean_cosines, paper_figure, solve_paper_figure
from ufm.figures._path import collapse_path
from ufm.figures._phase import phase_diagram, sweep
from ufm.figures._phase_map import phase_map
from ufm.figures._phase_solve import PhaseMap, solve_phase_map
from ufm.figures._runs import RunResult, read_runs
from ufm.figures._runs_figure import RunsFigure, runs_figure

__all__ = [
    "PaperFigure",
    "PhaseMap",
    "RunResult",
    "RunsFigure",
    "check_numbers_path",
    "check_path",
    "collapse_path",
    "comparison",
    "heatmap",
    "heatmaps",
    "mean_cosines",
    "paper_figure",
    "phase_diagram",
    "phase_map",
    "read_runs",
    "runs_figure",
    "save",
    "solve_paper_figure",
    "solve_phase_map",
    "sweep",
    "write_numbers",
]
