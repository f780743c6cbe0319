"""What the README shows is what the package prints."""

from __future__ import annotations

import re
import shlex

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
# These differ from machine to machine.
VARIABLE = ("  relative gap", "  took")


def test_example(run_python):
    position = next(i for i, (language, _) in enumerate(BLOCKS) if language == "python")
    done = run_python(BLOCKS[position][1])
    assert done.returncode == 0, done.stderr
    shown, printed = BLOCKS[position + 1][1].splitlines(), done.stdout.splitlines()
    assert len(shown) == len(printed)
    for expected, line in zip(shown, printed, strict=True):
        if expected.startswith(VARIABLE):
            assert line.startswith(VARIABLE)
            continue
        for word, other in zip(expected.split(), line.split(), strict=True):
            try:
                assert float(other) == pytest.approx(float(word), rel=1e-5, abs=1e-4)
            except ValueError:
                assert other == word


def test_commands(tmp_path, monkeypatch, capsys):
    for extra in ("click", "rich", "matplotlib"):
        pytest.importorskip(extra)
    from ufm.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizes.csv").write_text("class,count\na,500\nb,400\nc,30\n")
    commands = re.findall(r"^ufm .*$", README, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert (tmp_path / "z.png").is_file()


def test_links_and_pictures_exist():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    targets += re.findall(r"`((?:\w+/)+[\w.]+)`", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
    for picture in (ROOT / "docs" / "images").glob("*.png"):
        assert picture.stat().st_size < 300_000
