"""``ufm figure N --runs FOLDER --train``: what is missing is trained, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("click")
pytest.importorskip("rich")

from interrupted import start_listening  # noqa: E402
from ufm import figures  # noqa: E402
from ufm.cli import main  # noqa: E402
from ufm.torch import load_protocol, load_run, train  # noqa: E402
from ufm.torch._batches import Batches  # noqa: E402

TINY = """
title = "tiny networks on digits"
figure = [5]
[data]
counts = "12x3,6x3"
[model]
hidden = [10]
width = 8
[penalty]
lambda_b = 0.05
[training]
epochs = EPOCHS
measure_every = 1
[grid]
"model.features" = ["linear", "relu"]
"penalty.lambda_z" = [0.01, 0.03]
[variants.plain]
[variants.remedied.penalty]
ramp_until = 0.5
[as_published.training]
learning_rate = 0.01
"""
NAMES = [
    f"{variant}_{features}_lambda_z={value}"
    for variant in ("plain", "remedied")
    for features in ("linear", "relu")
    for value in (0.01, 0.03)
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For the whole file: the runs shared by its tests are compared bit for bit with later ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _protocol(folder, epochs=2):
    path = folder / "tiny.toml"
    path.write_text(TINY.replace("EPOCHS", str(epochs)))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The protocol's file and the folder of its runs, trained by the command itself."""
    folder = tmp_path_factory.mktemp("trained")
    protocol = _protocol(folder)
    arguments = ["--runs", str(folder / "runs"), "--protocol", str(protocol)]
    assert main(["figure", "5", *arguments, "--train", "--out", str(folder / "5.png")]) == 0
    return protocol, folder / "runs"


def _arguments(protocol, runs, *more):
    return ["--runs", str(runs), "--protocol", str(protocol), *map(str, more)]


def test_every_run_of_the_protocol_is_trained(trained):
    protocol, runs = trained
    assert sorted(path.name for path in runs.iterdir()) == sorted(NAMES)
    for config in load_protocol(protocol).runs():
        assert load_run(runs / config.name).status == "finished"
        assert load_run(runs / config.name).config == config


@pytest.mark.parametrize("number", range(1, 10))
def test_every_figure_is_drawn_from_the_runs(trained, tmp_path, capsys, number):
    picture = tmp_path / "a.png"
    assert main(["figure", str(number), *_arguments(*trained, "--out", picture)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert all(name.split("_lambda")[0] in captured.out for name in NAMES)
    assert picture.stat().st_size > 5000
    drawn = figures.runs_figure(number, trained[1]).draw()
    stored = [load_run(trained[1] / name) for name in NAMES]
    lines = [line.get_ydata() for ax in drawn.axes for line in ax.lines]
    images = [np.asarray(ax.images[0].get_array()) for ax in drawn.axes if ax.images]

    def shown(values, among):
        return any(np.array_equal(values, other) for other in among)

    for run in stored:
        Z = run.final["Z"]
        if number == 1:
            assert shown(run.metrics["nc1"], lines)
        elif number == 2:
            assert shown((Z - Z.min()) / (Z.max() - Z.min()), images)
        elif number == 3:
            history = run.metrics["error_Z"]  # as the training computed it
            assert any(np.allclose(history, y) for y in lines if len(y) == len(history))
        elif number <= 8:
            assert shown(Z, images)
    networks = {2: 8, 4: 8, 5: 8, 6: 8, 7: 8, 8: 8}.get(number)
    if networks is not None:
        # Both theories for each network, or once for each of the two problems.
        assert len(images) == networks + (16 if number == 4 else 4)
    if number == 9:
        assert len(drawn.axes) == 2
        x = [point for ax in drawn.axes for line in ax.lines if line.get_marker() in "os"
             for point in line.get_xdata()]  # fmt: skip
        assert len(x) == 3 * 8  # each network once for each of the three cosines


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / "runs")
    return trained[0], tmp_path / "runs"


def test_missing_runs_are_named_with_the_command_that_trains_them(copied, capsys, tmp_path):
    protocol, runs = copied
    for name in NAMES[:4]:
        shutil.rmtree(runs / name)
    state = json.loads((runs / NAMES[4] / "run.json").read_text())
    (runs / NAMES[4] / "run.json").write_text(json.dumps({**state, "status": "diverged"}))
    arguments = _arguments(protocol, runs, "--out", tmp_path / "a.png")
    assert main(["figure", "2", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    note, diverged = captured.err.strip().splitlines()
    assert "not shown, 4 of 8 runs: " + ", ".join(NAMES[:3]) + " and 1 more; " in note
    assert note.endswith(f"ufm figure 2 --runs {runs} --train --protocol {protocol}")
    assert diverged.endswith(f"diverged: {NAMES[4]}")
    record = json.loads(captured.out)
    assert [row["run"] for row in record["runs"]] == sorted(
        NAMES[5:], key=lambda name: (name.split("=")[1], name)
    )
    assert record["left_out"] == {
        **dict.fromkeys(NAMES[:4], "missing"),
        NAMES[4]: "diverged",
    }
    # Nothing at all: an error in one line.
    shutil.rmtree(runs)
    assert main(["figure", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert NAMES[0] in error and "5 more" in error and f"--runs {runs} --train" in error


def test_only_what_is_missing_is_trained(copied, capsys, tmp_path, monkeypatch):
    protocol, runs = copied
    configs = {config.name: config for config in load_protocol(protocol).runs()}
    gone, partial = NAMES[1], NAMES[6]
    whole = load_run(runs / partial).final["Z"]
    for name in (gone, partial):
        shutil.rmtree(runs / name)

    class Stop(Exception):
        pass

    reports = []

    def stop(report):
        reports.append(report)
        if len(reports) == 2:  # before the second epoch's checkpoint
            raise Stop

    with pytest.raises(Stop):
        train(configs[partial], runs / partial, checkpoint_seconds=0.0, progress=stop)
    before = {name: (runs / name / "final.npz").stat().st_mtime_ns for name in NAMES
              if name not in (gone, partial)}  # fmt: skip
    epochs = []
    visit = Batches.epoch

    def counted(self, number, device):
        epochs.append(number)
        return visit(self, number, device)

    monkeypatch.setattr(Batches, "epoch", counted)
    arguments = _arguments(protocol, runs, "--train", "--out", tmp_path / "a.png")
    assert main(["figure", "5", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("finished") == 2
    assert gone in captured.err and partial in captured.err
    assert epochs == [0, 1, 1]  # the interrupted run went on
    np.testing.assert_array_equal(load_run(runs / partial).final["Z"], whole)
    after = {name: (runs / name / "final.npz").stat().st_mtime_ns for name in before}
    assert after == before
    # And again: nothing.
    assert main(["figure", "5", *arguments]) == 0
    assert len(epochs) == 3
    assert "finished" not in capsys.readouterr().err


def test_a_run_that_lost_its_result_is_named_and_trained_again(copied, capsys, tmp_path):
    protocol, runs = copied
    result = runs / NAMES[0] / "final.npz"
    before = load_run(runs / NAMES[0]).final["Z"]
    result.unlink()
    arguments = _arguments(protocol, runs, "--out", tmp_path / "a.png")
    assert main(["figure", "5", *arguments]) == 0
    error = capsys.readouterr().err
    assert f"not shown, 1 of 8 runs: {NAMES[0]} (no final.npz); train it with" in error
    assert main(["figure", "5", *arguments, "--train"]) == 0
    np.testing.assert_array_equal(load_run(runs / NAMES[0]).final["Z"], before)


def test_another_protocols_folder_is_refused_before_any_work(copied, capsys, tmp_path):
    _, runs = copied
    shutil.rmtree(runs / NAMES[0])
    other = _protocol(tmp_path, epochs=3)
    assert main(["figure", "5", *_arguments(other, runs, "--train")]) == 2
    captured = capsys.readouterr()
    assert "another configuration" in captured.err and captured.err.count("\n") == 1
    assert not (runs / NAMES[0]).exists()


def test_runs_of_the_published_mode(trained, tmp_path, capsys):
    arguments = _arguments(trained[0], tmp_path / "published", "--mode", "as-published")
    assert main(["figure", "9", *arguments, "--train", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["vectors"] == "rows"
    assert len(record["runs"]) == 4  # no remedies
    for row in record["runs"]:
        run = load_run(tmp_path / "published" / row["run"])
        assert (run.config.mode, run.config.training.learning_rate) == ("as_published", 0.01)


def test_the_protocol_follows_from_the_folders_name_or_the_size(tmp_path, capsys, monkeypatch):
    """Which runs the message names where nothing is trained yet."""
    monkeypatch.chdir(tmp_path)
    for number, folder, options, name, mode in (
        (5, "runs/figure5-cpu", [], "figure5-cpu", "corrected"),
        (5, "runs/figure5-digits", [], "figure5-digits", "corrected"),
        (3, "runs/figure1-cpu", [], "figure3-cpu", "corrected"),
        (2, "elsewhere", ["--size", "full"], "figure2", "corrected"),
        (1, "elsewhere", ["--size", "cpu"], "figure1-cpu", "corrected"),
        (6, "figure6-as_published", [], "figure6", "as_published"),
        ("spread", "figure7-cpu", [], "figure7-cpu", "corrected"),
    ):
        names = [config.name for config in load_protocol(name).runs(mode)]
        assert main(["figure", str(number), "--runs", folder, *options]) == 2
        error = capsys.readouterr().err
        assert f": {', '.join(names[:3])} and {len(names) - 3} more; " in error, error
        assert error.strip().endswith(" ".join([folder, "--train", *options]))
    assert main(["figure", "5", "--runs", "elsewhere"]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["5", "--train"], "--train needs --runs"),
        (["5", "--jobs", "2"], "--jobs needs --runs"),
        (["2"], "--runs"),
        (["2", "--runs", "x", "--jobs", "2"], "--jobs needs --train"),
        (["2", "--runs", "x", "--size", "cpu", "--protocol", "figure2"], "exclude each other"),
        (["2", "--runs", "x", "--size", "large"], "--size"),
        (["2", "--runs", "x", "--train", "--protocol", "figure22"], "figure22"),
        (["spread", "--runs", "x", "--train"], "--protocol"),
        (["2", "--runs", "x", "--mode", "as-published"], "--mode needs"),
        (["5", "--runs", "x", "--features", "free"], "--features does not go with --runs"),
        (["4", "--runs", "x", "--out", "none/a.png"], "--out: the folder 'none' does not exist"),
    ],
)
def test_bad_options(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "figure5-digits", "--jobs", "2"], "--jobs does not go with torchrun"),
        (["figure", "5", "--runs", "x", "--train"], "drawn by one process"),
    ],
)
def test_what_torchrun_must_not_do(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
@pytest.mark.slow
def test_stopping_ends_every_process_at_once(tmp_path, how):
    """Only the first process is told; nothing is left running, and what is there can go on."""
    protocol = _protocol(tmp_path, epochs=1_000_000)
    command = [sys.executable, "-m", "ufm.cli", "figure", "5", "--train", "--jobs", "2"]
    arguments = _arguments(protocol, tmp_path / "runs", "--out", tmp_path / "a.png")
    child = start_listening(
        [*command, *arguments], stdout=None, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        states = [tmp_path / "runs" / name / "run.json" for name in NAMES[:2]]
        deadline = time.monotonic() + 120
        while not all(path.is_file() for path in states):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        workers = _descendants(child.pid)
        assert len(workers) >= 2
        child.send_signal(signal.Signals[how])
        told = time.monotonic()
        child.wait(timeout=20)
        while any(_alive(pid) for pid in workers) and time.monotonic() - told < 20:
            time.sleep(0.05)
        assert not any(_alive(pid) for pid in workers)
        if how == "SIGINT":
            assert child.returncode == 130
            assert child.stderr.read().strip() == "ufm: interrupted"
    finally:
        if child.poll() is None:
            child.kill()
        child.stderr.close()
    assert not list((tmp_path / "runs").glob("*/final.npz"))
    shorter = _protocol(tmp_path, epochs=2)
    with pytest.raises(ValueError, match="another configuration"):
        figures.runs_figure(5, tmp_path / "runs", protocol=shorter)


def _descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
