"""Making and writing figures without pyplot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ufm._files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#2b2b2b"
FAINT = "#8a8a8a"
SMALL, NORMAL = 8.0, 9.5
DPI = 160


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra when matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ImportError('figures need matplotlib: pip install "ufm[plot]"') from None


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of `width` x `height` inches, outside pyplot's registry."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def check_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """The path of a picture to write, refused early where writing must fail.

    Parameters
    ----------
    path : str or path-like
        Where the picture is to go.
    name : str
        What messages call it.

    Raises
    ------
    ValueError
        If the folder does not exist, or the suffix is none that matplotlib writes.
    ImportError
        If matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    allowed = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix[1:].lower() not in allowed:
        raise ValueError(
            f"{name}: cannot tell the format of '{path}'; its name must end in one of "
            + ", ".join(f".{suffix}" for suffix in allowed)
        )
    if not path.parent.is_dir():
        raise ValueError(f"{name}: the folder '{path.parent}' does not exist")
    if path.is_dir():
        raise ValueError(f"{name}: '{path}' is a folder")
    return path


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` to `path`, which never holds half a picture.

    The picture is written under a temporary name in the same folder and then
    renamed.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : str or path-like
        Where; the suffix chooses the format (png, pdf, svg, ...).

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ValueError
        If the folder does not exist or the suffix is unknown.
    OSError
        If the file cannot be written.
    """
    path = check_path(path)
    kind = path.suffix[1:].lower()
    # No creation date in the file: the same figure gives the same bytes.
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with replacing(path) as file:
        figure.savefig(file, format=kind, metadata=metadata)
    return path


def short(value: float) -> str:
    """A count in few characters: 500, 12.3k, 28.8M.

    >>> [short(value) for value in (0.5, 500, 4980, 12345, 28787591)]
    ['0.5', '500', '4980', '12.3k', '28.8M']
    """
    if value < 1e4:
        return f"{value:.6g}"
    for unit, suffix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if value / unit < 999.5:
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.3g}"
