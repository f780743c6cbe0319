"""``ufm sweep`` on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ufm

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("netCDF4")

from ufm.cli import main
from ufm.planning.executors import WorkersLostError

xr = pytest.importorskip("xarray")

GOOD = {"--counts": "500x5,100x5", "--lambda-z": "1e-3:1e-2:5", "--lambda-b": "0.02"}


def arguments(**changes: str | None) -> list[str]:
    """Return a good call with some options changed."""
    options = {**GOOD, **{f"--{key.replace('_', '-')}": value for key, value in changes.items()}}
    return ["sweep", *(part for pair in options.items() if None not in pair for part in pair)]


def test_json(capsys, tmp_path):
    path = tmp_path / "out.nc"
    call = [*arguments(lambda_b="0.02,inf", ratio="1:5:3:lin", out=str(path)), "--json"]
    assert main(call) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["dimensions"] == {"ratio": 3, "lambda_b": 2, "lambda_z": 5}
    assert record["problems"] == record["converged"] == 30
    expected = ufm.sweep(
        [500] * 5 + [100] * 5,
        ratio=[1, 3, 5],
        lambda_b=[0.02, np.inf],
        lambda_z=np.geomspace(1e-3, 1e-2, 5),
    )
    with xr.open_dataset(path) as file:
        xr.testing.assert_identical(file.load(), expected)
    assert main(call) == 0  # read back


def test_text_and_picture(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "out.png"
    assert main(arguments(lambda_z="0.5x,1.5x", ratio="2:9:4", plot=str(path))) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "8 (4 ratio x 2 relative_lambda_z)" in captured.out
    assert path.read_bytes().startswith(b"\x89PNG")


def test_status_of_a_sweep_that_did_not_converge(capsys):
    counts = ",".join(str(n * n) for n in range(1, 11))
    assert main(arguments(counts=counts, lambda_z="1e-4", tol="1e-300")) == 1
    capsys.readouterr()


def test_workers(capsys, tmp_path):
    assert main([*arguments(out=str(tmp_path / "a.zarr"), workers="1"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lambda_z": "1:2"}, ["--lambda-z", "start:stop:num"]),
        ({"lambda_z": "1x:2:3"}, ["--lambda-z", "x"]),
        ({"lambda_z": "1x,2"}, ["--lambda-z", "x"]),
        ({"lambda_z": "0:1:3"}, ["--lambda-z", "0"]),
        ({"lambda_z": "1:2:1"}, ["--lambda-z", "'1'"]),
        ({"lambda_z": "1,,2"}, ["--lambda-z", "''"]),
        ({"lambda_z": "inf"}, ["--lambda-z", "inf"]),
        ({"lambda_b": "-1"}, ["--lambda-b", "-1"]),
        ({"lambda_b": "1:inf:3"}, ["--lambda-b", "finite"]),
        ({"ratio": "2x"}, ["--ratio", "2x"]),
        ({"ratio": "2", "counts": "5,5"}, ["ratio", "5"]),
        ({"out": "x.csv"}, ["x.csv", ".nc"]),
        ({"workers": "0"}, ["--workers", "0"]),
        ({"workers": "2", "scheduler": "tcp://127.0.0.1:1"}, ["--workers", "--scheduler"]),
        ({"scheduler": "nowhere"}, ["nowhere"]),
        ({"plot": "x.png", "lambda_z": "1"}, ["--plot"]),
    ],
)
def test_bad_option(capsys, changes, words):
    if "scheduler" in changes:
        pytest.importorskip("distributed")
    assert main(arguments(**changes)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


def test_on_a_dask_cluster(capsys, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, host="tcp://127.0.0.1",
        dashboard_address=None,
    ) as cluster:  # fmt: skip
        assert main([*arguments(scheduler=cluster.scheduler_address), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["converged"] == 5


def test_workers_that_die_are_one_line(capsys, monkeypatch):
    def die(*_, **__):
        raise WorkersLostError("workers died 4 times")

    monkeypatch.setattr("ufm.planning.sweep.run_chunks", die)
    assert main(arguments()) == 2
    assert capsys.readouterr().err == "ufm: workers died 4 times\n"
