"""Bad input on the command line: status 2 and one line on stderr that names the option."""

from __future__ import annotations

import sys

import pytest

import ufm

pytest.importorskip("click")
pytest.importorskip("rich")

from ufm.cli import main

GOOD = {"--counts": "500x5,100x5", "--lambda-z": "0.005", "--lambda-b": "0.02"}


def arguments(**changes: str | None) -> list[str]:
    """`ufm solve` with some options of a good call replaced, or left out where None."""
    options = {**GOOD, **{f"--{key.replace('_', '-')}": value for key, value in changes.items()}}
    return ["solve", *(part for pair in options.items() if None not in pair for part in pair)]


def one_line(capsys, *parts: str) -> str:
    """Run the command line; the one line that it must leave on stderr."""
    status = main(parts)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("ufm")
    assert len(captured.err) < 400
    return captured.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counts": "500,,5"}, ["--counts", "entry 2"]),
        ({"counts": "500,-5"}, ["--counts", "entry 2", "-5"]),
        ({"counts": ""}, ["--counts", "nothing"]),
        ({"counts": "none.csv"}, ["--counts", "none.csv", "No such file"]),
        ({"counts": "some words"}, ["--counts", "some words"]),
        ({"counts": "two\nlines"}, ["--counts"]),
        ({"counts": None}, ["--counts"]),
        ({"counts": "1e308x2,5", "lambda_z": "0.1x"}, ["--counts", "finite sum"]),
        ({"counts": "1e-300,1e300"}, ["--counts", "1e-300"]),
        ({"lambda_z": None}, ["--lambda-z"]),
        ({"lambda_b": None}, ["--lambda-b"]),
        ({"lambda_z": "0"}, ["--lambda-z", "'0'"]),
        ({"lambda_z": "-1"}, ["--lambda-z", "'-1'"]),
        ({"lambda_z": "nan"}, ["--lambda-z", "'nan'"]),
        ({"lambda_z": "inf"}, ["--lambda-z", "'inf'"]),
        ({"lambda_z": "x"}, ["--lambda-z", "'x'"]),
        ({"lambda_z": "0x"}, ["--lambda-z", "'0x'"]),
        ({"lambda_z": "small"}, ["--lambda-z", "'small'"]),
        ({"lambda_b": "-1"}, ["--lambda-b", "'-1'"]),
        ({"lambda_b": "nan"}, ["--lambda-b", "'nan'"]),
        ({"tol": "tight"}, ["--tol", "tight"]),
        ({"tol": "-1"}, ["tol", "-1"]),
        ({"tol": "nan"}, ["tol", "nan"]),
        ({"method": "magic"}, ["method", "magic"]),
        ({"max_iterations": "2.5"}, ["--max-iterations", "2.5"]),
        ({"max_iterations": "-2"}, ["max_iterations", "-2"]),
        ({"threads": "-2"}, ["threads", "-2"]),
        ({"time_limit": "-2"}, ["time_limit", "-2"]),
        ({"lambda": "1"}, ["--lambda"]),
    ],
)
def test_bad_option(capsys, changes, words):
    message = one_line(capsys, *arguments(**changes))
    for word in words:
        assert word in message


def test_directory_as_counts(capsys, tmp_path):
    assert "--counts" in one_line(capsys, *arguments(counts=str(tmp_path)))


def test_bad_csv_names_the_line(capsys, tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("class,count\ncat,5\ndog,many\n")
    assert "line 3" in one_line(capsys, *arguments(counts=str(path)))


@pytest.mark.parametrize("name", ["z.docx", "z", "none/z.png"])
def test_bad_plot_is_refused_before_the_solve(capsys, tmp_path, monkeypatch, name):
    pytest.importorskip("matplotlib")
    monkeypatch.delattr(ufm, "solve", raising=False)
    assert "plot" in one_line(capsys, *arguments(plot=str(tmp_path / name)))


def _walk(command, path=()):
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, (*path, name))


def _output_options():
    """Every option of every command that names something to write."""
    from ufm.cli.app import cli

    names = {"--plot", "--html", "--out", "--output", "--numbers"}
    for path, command in _walk(cli):
        for option in command.params:
            for name in names & set(option.opts):
                yield pytest.param(path, name, id=" ".join([*path, name]))


def test_output_options_are_the_known_ones():
    from ufm.cli.app import cli
    from ufm.cli.options import OutputPath

    known = {parameter.id for parameter in _output_options()}
    typed = {
        " ".join([*path, name])
        for path, command in _walk(cli)
        for option in command.params
        for name in option.opts
        if isinstance(option.type, OutputPath)
    }
    assert known == typed
    assert len(known) > 10


@pytest.mark.parametrize(("path", "option"), list(_output_options()))
def test_dash_for_standard_output_is_refused_in_every_command(
    capsys, tmp_path, monkeypatch, path, option
):
    monkeypatch.chdir(tmp_path)
    message = one_line(capsys, *path, option, "-")
    assert option in message and "standard output" in message
    assert list(tmp_path.iterdir()) == []


def test_plot_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = one_line(capsys, *arguments(plot=str(tmp_path / "z.png")))
    assert 'pip install "ufm[plot]"' in message


@pytest.mark.parametrize("module", ["click", "rich"])
def test_missing_extra(capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert 'pip install "ufm[cli]"' in one_line(capsys, "--version")


@pytest.mark.parametrize("parts", [["sovle"], ["--verbose"], ["thresholds"], ["demo", "there"]])
def test_misuse(capsys, parts):
    one_line(capsys, *parts)


def test_memory_error_is_one_line(capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("Z would need\n80 GB")

    monkeypatch.setattr(ufm, "solve", fail)
    assert one_line(capsys, *arguments()) == "ufm: Z would need 80 GB\n"


@pytest.mark.parametrize("parts", [["--help"], ["-h"], [], ["solve", "--help"], ["demo", "-h"]])
def test_help(capsys, parts):
    assert main(parts) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: ufm")
    assert captured.out.isascii()
    assert captured.err == ""


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ufm {ufm.__version__}\n"


@pytest.mark.parametrize("option", ["counts", "lambda_z", "lambda_b"])
@pytest.mark.parametrize("text", ["y" * 5000, "x,:" * 2000, "9" * 5000 + "y"])
def test_long_values_are_cut(capsys, option, text):
    assert len(one_line(capsys, *arguments(**{option: text}))) < 400
    sweep = ["sweep", *arguments(**{option: text})[1:]]
    assert len(one_line(capsys, *sweep)) < 400
