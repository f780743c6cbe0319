"""Run a short choice of the tests against the installed package.

``python tests/smoke.py`` needs the package with its extra ``cli``, pytest and hypothesis, and takes
less than a minute. It is what every wheel has to pass; arguments go to pytest.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

import ufm
from ufm import _core

HERE = Path(__file__).resolve().parent
TOPICS = (
    "import",
    "version",
    "solver_numbers",
    "solution",
    "problem_validation",
    "primitives",
    "batch",
    "warm_start",
    "free_threading",
    "theory_thresholds",
    "theory_two_clusters",
    "metrics",
    "cli_solve",
)
LONG = "larger_matrices"


def main(arguments: list[str]) -> int:
    """Exit status of pytest; 2 if it is not an installed package that would be tested."""
    found = Path(ufm.__file__).resolve()
    if not found.is_relative_to(Path(sysconfig.get_path("platlib")).resolve()):
        print(f"{found} is no installed package", file=sys.stderr)
        return 2
    print(f"ufm {ufm.__version__} in {found.parent}, {Path(_core.__file__).name}", flush=True)
    files = [str(HERE / f"test_{topic}.py") for topic in TOPICS]
    options = ["-q", "-p", "no:cacheprovider", "-k", f"not {LONG}"]
    return int(pytest.main([*options, *files, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
