"""The examples run from start to end, print what they claim and leave their pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ufm
from conftest import ROOT, child_environment

pytest.importorskip("matplotlib")


def run(name: str, folder: Path, *arguments: str, silent: bool = True) -> str:
    """What an example prints; warnings are errors there too.

    `silent` wants nothing on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name, folder, *arguments],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" or not silent
    return done.stdout


def numbers_after(label: str, text: str) -> list[float]:
    """Numbers on the line that starts with a label."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return [float(word) for word in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", line.split(label)[1])]


def test_theorist(tmp_path):
    out = run("theorist.py", tmp_path)
    assert numbers_after("||G|| / lambda_z", out) == pytest.approx([1.0], abs=1e-9)
    assert numbers_after("<G, X> / (lambda_z ||X||_*)", out) == pytest.approx([1.0], abs=1e-9)
    for label, edge in (("rank 9 -> 5", 1 / 300), ("rank 5 -> 4", 0.003983)):
        low, high = numbers_after(label, out)[-2:]
        assert low <= edge <= high
    assert numbers_after("rank 4 -> 0", out)[-1] == pytest.approx(0.0074536, abs=1e-7)
    # The angle falls like one over a logarithm: the last column settles.
    products = [numbers_after(f"lambda_z = 1e-{e}", out)[-1] for e in (20, 40, 80)]
    assert abs(products[2] - products[1]) < abs(products[1] - products[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "theorist-path.png",
        "theorist-phase.png",
    ]


def test_practitioner(tmp_path):
    out = run("practitioner.py", tmp_path)
    assert "3 classes of    60: threshold 0.000826, lambda_z is 1.48 of it: MERGE" in out
    assert "merged: rare 1, rare 2, rare 3" in out
    assert "merged now: 0 classes; one copy fewer: 3; cost: 360 more samples an epoch" in out
    assert out.count("merged now: 0 classes") == 3
    # Repeating helps the rare classes, at the cost of the common ones.
    table = [line for line in out.splitlines() if " times: rare " in line]
    rare, common = zip(*(map(float, re.findall(r"0\.\d+", line)) for line in table), strict=True)
    assert list(rare) == sorted(set(rare)) and list(common) == sorted(set(common), reverse=True)
    assert [path.name for path in tmp_path.iterdir()] == ["practitioner.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="processes"),
        pytest.param(("--dask", "local"), id="dask", marks=pytest.mark.slow),
    ],
)
def test_cluster(tmp_path, arguments):
    pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    if arguments:
        pytest.importorskip("distributed")
    if not hasattr(ufm, "sweep"):
        pytest.skip("this version of ufm has no sweep")
    # While a dask cluster closes down, tornado now and then logs a future that was cancelled.
    out = run("cluster.py", tmp_path, *arguments, silent=not arguments)
    assert "stopped: 5400 of 10800 problems done" in out
    assert "all converged: True" in out
    assert "the same as a sweep here in one go" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.nc", "cluster.png"]
