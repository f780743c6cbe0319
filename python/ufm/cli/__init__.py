"""The command line ``ufm`` (extra ``cli``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 ran but not converged, 2 bad input or a missing
        extra, 130 interrupted.
    """
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        print('ufm: the command line needs: pip install "ufm[cli]"', file=sys.stderr)
        return 2
    from ufm.cli.app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))
