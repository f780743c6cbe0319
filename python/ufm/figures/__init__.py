"""Pictures of solutions (extra ``plot``).

Every function makes its own `matplotlib.figure.Figure` or draws into the axes
it is given. None of them touches pyplot or a global setting, so they work
without a display and from several threads. Matplotlib is imported at the
first call.
"""

from ufm.figures._canvas import check_path, save
from ufm.figures._heatmap import heatmap, heatmaps
from ufm.figures._path import collapse_path
from ufm.figures._phase import phase_diagram, sweep

__all__ = [
    "check_path",
    "collapse_path",
    "heatmap",
    "heatmaps",
    "phase_diagram",
    "save",
    "sweep",
]
