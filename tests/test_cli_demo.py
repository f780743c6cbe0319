"""``ufm demo``: its numbers and its pictures."""

from __future__ import annotations

import sys
import time

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from ufm.cli import main


def test_quick_demo(capsys, tmp_path):
    assert main(["demo", "--quick", "--output", str(tmp_path / "a" / "b")]) == 0
    out = capsys.readouterr().out
    for number in ("1.44764", "1.62046", "1.74873", "1.94122", "2.10866"):
        assert number in out
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == ["minority-collapse.png", "minority-path.png"]
    for name in names:
        assert str(tmp_path / "a" / "b" / name) in out


def test_demo_in_the_current_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)  # networks: tests/test_torch_compare.py
    start = time.perf_counter()
    assert main(["demo"]) == 0
    assert time.perf_counter() - start < 60
    out = capsys.readouterr().out
    assert "CIFAR-100-LT" in out
    assert 'PyTorch is not installed. To train networks: pip install "ufm[torch]"' in out
    pictures = sorted(path.name for path in (tmp_path / "ufm-demo").iterdir())
    assert pictures == ["long-tail.png", "minority-collapse.png", "minority-path.png"]


def test_demo_where_nothing_can_be_written(capsys, tmp_path):
    path = tmp_path / "file"
    path.write_text("not a folder")
    assert main(["demo", "--output", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert str(path) in captured.err


def test_demo_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--output", str(tmp_path / "new")]) == 2
    assert 'pip install "ufm[plot]"' in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
