"""Shared fixtures, the slow switch, hypothesis profiles and the locator of the count lists."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import profiles

ROOT = Path(__file__).resolve().parents[1]

profiles.load()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than some ten seconds; run with --slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def data_directory() -> Path:
    """Return where the count lists should be: $UFM_DATA, else shared/data beside the checkout."""
    configured = os.environ.get("UFM_DATA")
    return Path(configured) if configured else ROOT.parent / "shared" / "data"


def read_counts(path: Path) -> NDArray[np.float64]:
    """Read the column ``count`` of a ``class,count`` file."""
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    return np.asarray(table["count"], dtype=np.float64)


@pytest.fixture(scope="session")
def counts_of() -> Callable[[str], NDArray[np.float64]]:
    """Return a function from a list's name to its counts; it skips where the list is absent."""

    def load(name: str) -> NDArray[np.float64]:
        path = data_directory() / "counts" / f"{name}.csv"
        if not path.is_file():
            pytest.skip(f"count list {path.name} not found; set UFM_DATA to the data directory")
        return read_counts(path)

    return load


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a script in a fresh interpreter with this one's import path."""

    def run(script: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def child_environment() -> dict[str, str]:
    """Environment in which a child interpreter finds the same packages as this one."""
    entries = [entry for entry in sys.path if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entries)}
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # Else Python says on stderr that it turns the lock on for the core.
        environment.setdefault("PYTHON_GIL", "1")
    return environment
