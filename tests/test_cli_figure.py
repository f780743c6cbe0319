"""``ufm figure``: pictures, numbers and exit status."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from ufm import figures
from ufm.cli import main


def test_default_picture(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", "5"]) == 0
    out = capsys.readouterr().out
    assert "picture: figure5.png" in out
    assert out.count("collapsed to zero") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["figure5.png"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_picture_and_numbers(capsys, tmp_path, suffix):
    picture, numbers = tmp_path / f"a.{suffix}", tmp_path / "a.csv"
    assert main(["figure", "9", "--out", str(picture), "--numbers", str(numbers)]) == 0
    out = capsys.readouterr().out
    assert f"numbers: {numbers}" in out
    assert picture.stat().st_size > 1000
    assert len(numbers.read_text().splitlines()) == 12


def test_json(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", "9", "--mode", "as-published", "--json"]) == 0
    out = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    record = json.loads(out)
    assert record == figures.solve_paper_figure(9, mode="as_published").to_dict()
    assert (record["mode"], record["vectors"]) == ("as_published", "rows")


def test_json_with_a_picture(capsys, tmp_path):
    path = tmp_path / "a.png"
    assert main(["figure", "9", "--json", "--out", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["figure"] == 9
    assert path.is_file()


def test_phase(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["figure", "phase", "--points", "12", "--max-ratio", "5", "--classes-a", "3"]
    assert main([*arguments, "--classes-b", "7", "--numbers", "n.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "0.00454545" in captured.out and "0.0101639" in captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure-phase.png", "n.csv"]
    assert len((tmp_path / "n.csv").read_text().splitlines()) == 13


def test_phase_json(capsys):
    assert main(["figure", "phase", "--points", "5", "--json", "--lambda-b", "inf"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["lambda_b"] == "inf"
    assert [len(row) for row in record["regions"]] == [5] * 5


def test_help_without_a_name(capsys):
    assert main(["figure"]) == 0
    assert "phase" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["10"], "'10'"),
        (["4"], "--runs"),
        (["5", "--features", "odd"], "--features"),
        (["5", "--mode", "odd"], "--mode"),
        (["9", "--vectors", "odd"], "--vectors"),
        (["5", "--out", "none/a.png"], "--out: the folder 'none' does not exist"),
        (["5", "--out", "a.docx"], ".png"),
        (["5", "--numbers", "a.txt"], ".csv or .json"),
        (["phase", "--classes-a", "1"], "classes_a"),
        (["phase", "--count-b", "-1"], "count_b"),
        (["phase", "--lambda-b", "-1"], "--lambda-b"),
        (["phase", "--points", "1"], "--points"),
        (["phase", "--points", "100000"], "--points"),
        (["phase", "--max-ratio", "1"], "--max-ratio"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not list(tmp_path.iterdir())


def test_not_converged_is_status_one(capsys, tmp_path, monkeypatch):
    import ufm.figures._paper as paper

    solve = paper.solve

    def stopped(*problem, tol):
        return solve(*problem, tol=1e-12, method="proximal", max_iterations=1)

    monkeypatch.setattr(paper, "solve", stopped)
    assert main(["figure", "9", "--out", str(tmp_path / "a.png")]) == 1
    assert (tmp_path / "a.png").is_file()


def test_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["figure", "5", "--out", str(tmp_path / "a.png")]) == 2
    assert 'pip install "ufm[plot]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_numbers_need_no_matplotlib(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["figure", "5", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["panels"]) == 10
