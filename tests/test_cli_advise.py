"""``ufm advise``: output, JSON, report and exit status."""

from __future__ import annotations

import json

import pytest

import ufm

pytest.importorskip("click")
pytest.importorskip("rich")

from ufm.cli import main
from ufm.cli.advise import class_names

PROBLEM = ["--counts", "500x5,100x5", "--lambda-z", "0.0035", "--lambda-b", "0.02"]


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs ``ufm advise`` and gives status, stdout and stderr."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments):
        status = main(["advise", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_text(run):
    status, out, err = run(*PROBLEM)
    assert status == 0 and err == ""
    words = " ".join(out.split())
    assert "5 of 10 classes merge" in words
    assert "below 138 up to that number" in words or "138" in words
    assert words.count("confirmed") == 4
    assert max(map(len, out.splitlines())) <= 100


def test_json_is_what_python_gives(run):
    status, out, err = run(*PROBLEM, "--json")
    assert status == 0 and err == "" and out.count("\n") == 1
    found = json.loads(out)
    expected = ufm.advise([500] * 5 + [100] * 5, lambda_z=0.0035, lambda_b=0.02).to_dict()
    for record in (found, expected):
        record["solution"].pop("seconds")
        for check in record["checks"]:
            check.pop("seconds")
    assert found == json.loads(json.dumps(expected))


def test_decays(run):
    arguments = ["--counts", "500x5,100x5", "--lambda-b", "inf", "--json"]
    for penalty, decay in (("sum", 0.008), ("mean", 24.0)):
        decays = ["--weight-decay", 0.002, "--feature-decay", decay, "--feature-penalty", penalty]
        status, out, _ = run(*arguments, *decays)
        record = json.loads(out)
        assert status == 0
        assert record["lambda_z"] == pytest.approx(0.004, rel=1e-14)
        assert record["feature_penalty"] == penalty and record["lambda_b"] == "inf"


def test_options_reach_the_advisor(run):
    counts = ["--counts", "500,100x3,30", "--lambda-z", "1.2x", "--lambda-b", "0.02", "--json"]
    records = [
        json.loads(run(*counts, *more)[1])
        for more in ([], ["--protect", "all"], ["--margin", "0.5"], ["--tol", "1e-3"])
    ]
    assert records[0]["lambda_z"] == pytest.approx(1.2 * 30**0.5 / 830)
    assert [record["protect"] for record in records] == ["tied", "all", "tied", "tied"]
    assert [record["margin"] for record in records] == [0.05, 0.05, 0.5, 0.05]
    assert records[3]["checks"][0]["tol"] == 1e-3


def test_report_and_names(run, tmp_path):
    counts = tmp_path / "counts.csv"
    counts.write_text('name,class,count\ncat,0,500\n"a, <b>",1,10\n\nfox,2,10\n')
    assert class_names(str(counts)) == ["cat", "a, <b>", "fox"]
    page = tmp_path / "report.html"
    common = ["--counts", counts, "--lambda-z", "1.1x", "--lambda-b", "0.02", "--html", page]
    status, out, _ = run(*common)
    assert status == 0 and str(page) in out.replace("\n", "")
    source = page.read_text(encoding="utf-8")
    assert "a, &lt;b&gt;, fox" in source and "<b>" not in source
    status, out, _ = run(*common, "--json")
    assert status == 0 and json.loads(out)["names"] == ["cat", "a, <b>", "fox"]


@pytest.mark.parametrize(
    ("text", "names"),
    [("class,count\nx,1\ny,2\n", ["x", "y"]), ("count\n1\n2\n", None)],
)
def test_where_names_come_from(tmp_path, text, names):
    path = tmp_path / "counts.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert class_names(str(path)) == names
    assert class_names("500x5") is None


def test_not_confirmed_is_status_one(run):
    status, out, _ = run("--counts", "500x2,30x2", "--lambda-z", "2x", "--lambda-b", "0.02",
                         "--tol", "1e-300")  # fmt: skip
    assert status == 1
    assert "NOT confirmed" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--counts", "5x2", "--lambda-b", "1"], ["lambda_z", "weight_decay"]),
        (["--counts", "5x2", "--lambda-z", "1"], ["--lambda-b"]),
        (["--counts", "5x", "--lambda-z", "1", "--lambda-b", "1"], ["--counts"]),
        (["--counts", "no.csv", "--lambda-z", "1", "--lambda-b", "1"], ["no.csv"]),
        (["--counts", "5x2", "--lambda-z", "0", "--lambda-b", "1"], ["--lambda-z"]),
        ([*PROBLEM, "--weight-decay", "0.1"], ["exclude"]),
        ([*PROBLEM, "--margin", "0"], ["margin"]),
        ([*PROBLEM, "--protect", "some"], ["protect", "tied, all"]),
        ([*PROBLEM, "--feature-penalty", "max"], ["feature_penalty", "sum, mean"]),
        ([*PROBLEM, "--tol", "x"], ["--tol"]),
        ([*PROBLEM, "--html", "none/report.html"], ["html", "none"]),
        ([*PROBLEM, "--html", "."], ["html", "folder"]),
        ([*PROBLEM, "--fast"], ["--fast"]),
    ],
)
def test_bad_input_is_one_line_and_status_two(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("ufm")
    for word in words:
        assert word in err


def test_help(run):
    status, out, err = run("--help")
    assert status == 0 and err == "" and out.isascii()
    for option in ("--weight-decay", "--feature-decay", "--lambda-z", "--html", "--json"):
        assert option in out
