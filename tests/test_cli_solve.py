"""``ufm solve`` and ``ufm thresholds``: output and exit status."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import ufm
from conftest import child_environment

pytest.importorskip("click")
pytest.importorskip("rich")

from ufm.cli import main
from ufm.cli.progress import Progress

PROBLEM = ("--counts", "500x5,100x5", "--lambda-z", "0.0051", "--lambda-b", "0.02")
KEYS = {"K", "objective", "dual_objective", "relative_gap", "status", "rank"} | {
    "collapsed_classes",
    "seconds",
    "method",
    "lambda_z",
    "lambda_b",
    "iterations",
    "tol",
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys) -> Run:
    """Run the command line in this process: (exit status, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def reject(token: str) -> float:
    raise AssertionError(f"not strict JSON: {token}")


def strict_json(text: str) -> dict:
    assert text.count("\n") == 1
    return json.loads(text, parse_constant=reject)


def test_json(run):
    status, out, err = run("solve", *PROBLEM, "--json")
    assert (status, err) == (0, "")
    record = strict_json(out)
    assert set(record) >= KEYS
    assert record["K"] == 10
    assert record["status"] == "CONVERGED"
    assert record["objective"] == pytest.approx(1.9412208896, rel=1e-6)
    assert 0 <= record["relative_gap"] <= 1e-6
    assert record["dual_objective"] <= record["objective"]
    assert (record["rank"], record["collapsed_classes"]) == (4, 5)
    assert (record["lambda_z"], record["lambda_b"], record["tol"]) == (0.0051, 0.02, 1e-6)


def test_json_without_bias(run):
    problem = ("--counts", "500x5,100x5", "--lambda-z", "0.0051", "--lambda-b", "inf")
    status, out, _ = run("solve", *problem, "--json")
    assert status == 0
    assert float(strict_json(out)["lambda_b"]) == math.inf


@pytest.mark.parametrize("multiple", ["0.1x", "2X", "1e-1x"])
def test_relative_lambda_z(run, multiple):
    problem = ("--counts", "500x5,100x5", "--lambda-z", multiple, "--lambda-b", "0.02")
    status, out, _ = run("solve", *problem, "--json")
    assert status == 0
    expected = float(multiple[:-1]) * math.sqrt(100) / 3000
    assert strict_json(out)["lambda_z"] == pytest.approx(expected, rel=1e-14)


def test_csv_counts(run, tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("class,count\n" + "a,500\n" * 5 + "b,100\n" * 5)
    _, from_list, _ = run("solve", *PROBLEM, "--json")
    problem = ("--counts", str(path), *PROBLEM[2:])
    status, from_file, _ = run("solve", *problem, "--json")
    assert status == 0
    assert strict_json(from_file)["objective"] == strict_json(from_list)["objective"]


def test_not_converged(run):
    hard = ("--counts", "500,400,30,20,9,4", "--lambda-z", "1e-6", "--lambda-b", "0.02")
    status, out, err = run("solve", *hard, "--max-iterations", "1", "--tol", "1e-13", "--json")
    assert (status, err) == (1, "")
    assert strict_json(out)["status"] == "MAX_ITERATIONS"


def test_summary(run):
    status, out, err = run("solve", *PROBLEM)
    assert (status, err) == (0, "")
    assert "10 classes, 3000 samples, 2 different sizes" in out
    assert "1.94122" in out
    assert "(goal)" in out
    assert "CONVERGED" in out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["500"], ["100"])]
    assert [row[4] for row in rows] == ["separate", "merged"]
    assert [row[1] for row in rows] == ["5", "5"]
    assert "5 of 10 classes are merged" in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_summary_of_many_clusters_is_short(run):
    counts = ",".join(str(count) for count in range(1, 61))
    _, out, _ = run("solve", "--counts", counts, "--lambda-z", "3x", "--lambda-b", "0.1")
    assert len(out.splitlines()) < 30
    assert "60 different sizes" in out


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "z.png"
    status, out, _ = run("solve", *PROBLEM, "--plot", str(path))
    assert status == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert str(path) in out
    status, out, _ = run("solve", *PROBLEM, "--plot", str(path), "--json")
    assert status == 0
    strict_json(out)


def test_thresholds(run):
    arguments = ("thresholds", "--counts", "500x5,100x5,30", "--lambda-b", "0.02")
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert f"{math.sqrt(100) / 3030:.8g}" in out
    assert "single" in out
    status, out, _ = run(*arguments, "--json")
    record = strict_json(out)
    found = ufm.thresholds([500] * 5 + [100] * 5 + [30], 0.02)
    assert status == 0
    assert record["lambda_max"] == pytest.approx(found.lambda_max)


def test_thresholds_tell_from_where_the_bias_predicts_alone(run):
    # lambda_c of five classes of 500 and five of 100 is .003983 at lambda_b = .02.
    arguments = ("thresholds", "--counts", "500x5,100x5", "--lambda-b")
    status, out, _ = run(*arguments, "0.02")
    assert status == 0 and "bias alone" in out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["500"], ["100"])]
    assert [float(row[-1]) for row in rows] == pytest.approx([0.0074536, 0.003983], rel=1e-3)
    record = strict_json(run(*arguments, "0.02", "--json")[1])
    assert record["decoupling"] == pytest.approx(0.003983, rel=1e-3)
    assert [cluster["bias_only"] for cluster in record["clusters"]] == pytest.approx(
        [0.0074535599, 0.003983], rel=1e-3
    )
    # Without a bias there is nothing that could.
    assert "bias alone" not in run(*arguments, "inf")[1]
    record = strict_json(run(*arguments, "inf", "--json")[1])
    assert record["decoupling"] is None and record["clusters"][0]["bias_only"] is None


def test_interruption(run, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ufm, "solve", interrupt)
    status, out, err = run("solve", *PROBLEM)
    assert (status, out) == (130, "")
    assert err == "ufm: interrupted\n"


def test_our_own_fault_is_neither_bad_input_nor_missing_convergence(run, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(ufm, "solve", fail)
    status, _, err = run("solve", *PROBLEM)
    assert status == 70
    assert "ZeroDivisionError" in err


class Terminal:
    """A stderr that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_progress_is_for_people_only(monkeypatch):
    assert Progress(1e-6).callback is None  # pytest's stderr is no terminal
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(1e-6) as progress:
        assert progress.callback is not None
        progress.callback(1, 2.0, 0.5)
        assert terminal.text == ""  # too early
        progress._start -= 1.0
        progress.callback(20, 1.5, 1e-3)
        progress.callback(30, 1.5, math.inf)
    assert "iteration 20" in terminal.text
    assert "(goal 1e-06)" in terminal.text


def test_progress_fraction():
    progress = Progress(1e-6)
    assert progress._fraction(0.5) == 0.0
    progress._first_gap = 1.0
    assert progress._fraction(1e-3) == pytest.approx(0.5)
    assert progress._fraction(0.0) == 1.0
    assert progress._fraction(math.nan) == 0.0


def start(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ufm.cli", *arguments],
        env={**child_environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_terminal_without_unicode():
    with start("solve", *PROBLEM, PYTHONIOENCODING="ascii") as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, b"")
    assert out.isascii()
    assert b"merged" in out


def test_closed_pipe_is_quiet():
    counts = ",".join(str(count) for count in np.arange(1, 40))
    with start("solve", "--counts", counts, "--lambda-z", "1x", "--lambda-b", "1") as child:
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None
        _, err = child.communicate(timeout=60)
    assert err == b""
    assert child.returncode == 141
