"""Training: runs as folders, agreement with theory, oversampling, several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import ufm  # noqa: E402
from conftest import child_environment  # noqa: E402
from ufm.torch import RunConfig, load_run, train, train_many  # noqa: E402
from ufm.torch._batches import Batches  # noqa: E402
from ufm.torch._optimise import learning_rate_factor  # noqa: E402

TINY = {
    "data": {"source": "digits", "counts": "24x3,8x3"},
    "model": {"hidden": [48], "width": 24},
    "penalty": {"lambda_z": 0.02, "lambda_b": 0.05, "ramp_until": 0.5},
    "training": {
        "epochs": 30,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "bias_rate": 3.0,
        "centre_bias": True,
        "polish": 60,
        "measure_every": 10,
    },
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _config(**changes):
    record = {key: dict(table) for key, table in TINY.items()}
    for key, value in changes.items():
        table, name = key.split("__")
        record[table][name] = value
    return RunConfig.from_dict(record)


def test_linear_features_land_on_the_prediction(tmp_path):
    run = train(_config(), tmp_path / "run")
    theory = ufm.solve([24] * 3 + [8] * 3, 0.02, 0.05, tol=1e-9)
    assert run.status == "finished"
    distance = np.linalg.norm(run.final["Z"] - theory.Z) / np.linalg.norm(theory.Z)
    assert distance < 0.02
    assert run.metrics["error_Z"][-1] == pytest.approx(distance, rel=1e-3)
    objective = run.metrics["objective"][-1]
    assert theory.objective * (1 - 1e-6) < objective < theory.objective + 1e-3
    assert run.metrics["nc1"][-1] < 1e-2 * run.metrics["nc1"][0]
    assert abs(run.final["b"].sum()) < 1e-6


def test_what_a_folder_holds(tmp_path):
    config = _config(training__epochs=4, training__measure_every=2, training__polish=10)
    run = train(config, tmp_path / "run")
    names = {path.name for path in run.folder.iterdir()} - {".lock"}
    assert names == {"config.toml", "run.json", "metrics.csv", "final.npz", "network.pt"}
    final = run.final
    np.testing.assert_allclose(final["Z"], final["W"] @ final["means"].T, rtol=1e-10)
    np.testing.assert_array_equal(final["counts"], [24, 24, 24, 8, 8, 8])
    np.testing.assert_array_equal(final["Z_history"][-1], final["Z"])
    assert run.metrics["epoch"].tolist() == [1, 2, 4, 4]
    assert run.metrics["polish_iterations"].tolist() == [0, 0, 0, 10]
    assert run.config == config
    assert run.state["versions"]["torch"] == torch.__version__
    weights = torch.load(run.folder / "network.pt", weights_only=True)
    np.testing.assert_array_equal(weights["fc.bias"].double().numpy(), final["b"])
    shares = [run.metrics[f"test_accuracy_{k}"][-1] for k in range(6)]
    np.testing.assert_array_equal(shares, final["test_accuracy"])
    # The same again is read, not trained; another configuration is refused.
    stamp = (run.folder / "final.npz").stat().st_mtime_ns
    train(config, run.folder)
    assert (run.folder / "final.npz").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="another configuration"):
        train(dataclasses.replace(config, seed=1), run.folder)


def test_measured_nc1_and_objective_by_hand(tmp_path):
    """From W, b and features recomputed with the stored network, in numpy."""
    from ufm.torch import build_network, imbalanced_subset, load_images, prepare

    config = _config(training__epochs=3, training__polish=0, model__features="relu")
    run = train(config, tmp_path / "run")
    counts = run.final["counts"]
    data = prepare(imbalanced_subset(load_images(), counts))
    model = build_network("mlp", (1, 8, 8), 6, features="relu", hidden=(48,), width=24)
    model.load_state_dict(torch.load(run.folder / "network.pt", weights_only=True))
    with torch.no_grad():
        h = model.features(data.train_inputs).double().numpy()
    y = data.train_labels.numpy()
    means = np.stack([h[y == k].mean(0) for k in range(6)])
    np.testing.assert_allclose(run.final["means"], means, rtol=1e-6, atol=1e-12)
    within = (h - means[y]).T @ (h - means[y]) / len(y)
    centred = means - h.mean(0)
    between = centred.T @ np.diag(counts / counts.sum()) @ centred
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 6
    assert run.metrics["nc1"][-1] == pytest.approx(nc1, rel=1e-6)
    w, b = run.final["W"], run.final["b"]
    logits = h @ w.T + b
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])
    lambdas = run.state
    loss += lambdas["lambda_w"] / 2 * (w**2).sum() + lambdas["lambda_h"] / 2 * (h**2).sum()
    loss += lambdas["lambda_b"] / 2 * (b**2).sum()
    assert run.metrics["objective"][-1] == pytest.approx(loss, rel=1e-6)


RESUMED = """
import sys, json
import torch
from ufm.torch import RunConfig, train
torch.set_num_threads(1)
config = RunConfig.from_dict(json.loads(sys.argv[1]))
train(config, sys.argv[2], checkpoint_seconds=0.0)
"""


def test_killed_runs_end_with_the_same_bits(tmp_path):
    """SIGKILL at random moments, in both phases, until the run is finished."""
    config = _config(model__features="relu", model__slope=0.2, training__measure_every=1)
    whole = train(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    record = json.dumps(config.to_dict())
    rng = np.random.default_rng()
    kills, epochs = 0, set()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        command = [sys.executable, "-c", RESUMED, record, str(folder)]
        child = subprocess.Popen(command, env=child_environment())
        checkpoint = folder / "checkpoint.pt"
        before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        while child.poll() is None and kills < 2:
            # Wait until it has come further than the last time, then a random moment more.
            if checkpoint.is_file() and checkpoint.stat().st_mtime_ns > before:
                time.sleep(rng.uniform(0, 0.1))
                break
            time.sleep(0.002)
        if kills < 2 and child.poll() is None:
            child.kill()
            kills += 1
        child.wait()
        if checkpoint.is_file():
            epochs.add(torch.load(checkpoint, weights_only=True)["epoch"])
        if child.returncode == 0:
            break
    assert kills >= 1 and epochs
    again = load_run(folder)
    assert again.status == "finished"
    assert set(again.final) == set(whole.final)
    for name, array in whole.final.items():
        np.testing.assert_array_equal(again.final[name], array, err_msg=name)
    assert (folder / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()


def test_interrupted_end_phase_goes_on_with_the_same_bits(tmp_path):
    """Stop after each piece of the end phase in turn, in this process."""

    class Stop(Exception):
        pass

    config = _config(training__epochs=4)
    whole = train(config, tmp_path / "whole")

    def stop(report):
        raise Stop

    folder = tmp_path / "stopped"
    for _ in range(10):
        try:
            # progress is called before a checkpoint is due: each attempt gains one epoch.
            train(config, folder, checkpoint_seconds=0.0, progress=_after(2, stop))
            break
        except Stop:
            continue
    again = load_run(folder)
    np.testing.assert_array_equal(again.final["Z"], whole.final["Z"])


def _after(calls, action):
    seen = []

    def progress(report):
        seen.append(report)
        if len(seen) >= calls:
            action(report)

    return progress


def test_a_damaged_checkpoint_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        train(_config(), folder)
    torch.save({"epoch": os.system}, folder / "checkpoint.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        train(_config(), folder)


def test_a_run_that_cannot_start_leaves_the_folder_free(tmp_path):
    with pytest.raises(ValueError, match="whiten must be at most"):
        train(_config(data__whiten=500), tmp_path / "run")
    config = _config(training__epochs=1, training__polish=0)
    assert train(config, tmp_path / "run").status == "finished"


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    pytest.importorskip("fcntl")
    from ufm.torch._checkpoint import locked

    with locked(tmp_path), pytest.raises(BlockingIOError, match="another process"):
        train(_config(), tmp_path)


def test_a_diverging_run_says_so(tmp_path):
    config = _config(
        training__optimizer="sgd",
        training__learning_rate=1e6,
        training__schedule="constant",
        training__measure_every=1,
        training__polish=0,
    )
    run = train(config, tmp_path / "run")
    assert run.status == "diverged"
    assert run.state["epoch"] < 30


def test_random_state_of_the_caller_is_left_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(_config(training__epochs=1, training__polish=0), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_oversampled_epochs_visit_each_row_as_often_as_told():
    labels = np.repeat([0, 1, 2], [6, 4, 3])
    batches = Batches(labels, 5, seed=0, oversample=[1.0, 2.5, 3.0])
    assert batches.effective_counts.tolist() == [6, 10, 9]
    device = torch.device("cpu")
    visits = np.zeros(13)
    for epoch in range(20):
        rows = torch.cat(list(batches.epoch(epoch, device))).numpy()
        found = np.bincount(rows, minlength=13)
        assert np.bincount(labels[rows]).tolist() == [6, 10, 9]
        assert set(found[:6]) == {1} and set(found[6:10]) <= {2, 3} and set(found[10:]) == {3}
        visits += found
    assert np.all(visits[6:10] > 40)  # the half visits go round
    first = torch.cat(list(batches.epoch(3, device)))
    assert torch.equal(first, torch.cat(list(batches.epoch(3, device))))
    assert not torch.equal(first, torch.cat(list(batches.epoch(4, device))))


def test_oversampling_is_the_theory_of_the_larger_counts(tmp_path):
    """lambda_z = 0.0325: above sqrt(8)/96 = 0.0295, below sqrt(24)/144 = 0.0340 when repeated."""
    # So close to the threshold the end phase takes longer.
    oversampled = {"training__oversample": [1, 1, 1, 3, 3, 3], "training__polish": 200}
    config = _config(penalty__lambda_z=0.0325, **oversampled)
    run = train(config, tmp_path / "run")
    theory = ufm.solve([24] * 6, 0.0325, 0.05, tol=1e-9)
    assert run.state["effective_counts"] == [24] * 6
    assert np.linalg.norm(theory.Z) > 0.1
    error = np.linalg.norm(run.final["Z"] - theory.Z) / np.linalg.norm(theory.Z)
    assert error < 0.03, error


def test_class_weights_are_the_theory_of_weighted_losses(tmp_path):
    weights = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    run = train(_config(training__class_weights=weights), tmp_path / "run")
    theory = ufm.solve([24] * 3 + [8] * 3, 0.02, 0.05, tol=1e-9, class_weights=weights)
    error = np.linalg.norm(run.final["Z"] - theory.Z) / np.linalg.norm(theory.Z)
    assert error < 0.02


def test_schedules():
    config = _config(training__flat=0.5).training
    values = [learning_rate_factor(config, p) for p in (0, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([1, 1, 0.5, 0])
    steps = _config(training__schedule="steps", training__milestones=[1 / 3, 2 / 3]).training
    assert [learning_rate_factor(steps, p) for p in (0, 0.34, 0.7)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize(
    "changes",
    [
        {"model__network": "cnn"},
        {"training__precision": "bfloat16"},
        {"training__optimizer": "sgd", "training__weight_decay": 1e-3},
        {"training__batch_size": 0},
        {"data__whiten": 20},
    ],
)
def test_other_ways_to_train_lower_the_loss(tmp_path, changes):
    config = _config(**changes, training__epochs=6, training__measure_every=1)
    run = train(config, tmp_path / "run")
    assert run.status == "finished"
    assert run.metrics["objective"][-1] < run.metrics["objective"][0]


def test_weight_decay_counts_in_the_theory(tmp_path):
    changes = {"training__weight_decay": 0.01, "training__epochs": 1, "training__polish": 0}
    run = train(_config(**changes), tmp_path / "a")
    free = train(_config(**changes, training__weight_decay_classifier=False), tmp_path / "b")
    assert run.state["lambda_w"] == pytest.approx(free.state["lambda_w"] + 0.01)
    assert run.state["lambda_b"] == pytest.approx(0.06)
    assert free.state["lambda_z"] == pytest.approx(0.02)
    assert run.state["lambda_z_without_weight_decay"] == pytest.approx(0.02)


def test_several_processes_give_the_same_runs(tmp_path):
    base = _config(training__epochs=2, training__polish=0)
    configs = [dataclasses.replace(base, name=f"run{i}", seed=i) for i in range(2)]
    alone = {run.config.name: run for run in train_many(configs, tmp_path / "alone")}
    together = {run.config.name: run for run in train_many(configs, tmp_path / "two", jobs=2)}
    assert set(together) == {"run0", "run1"}
    for name, run in together.items():
        np.testing.assert_array_equal(run.final["Z"], alone[name].final["Z"])
    with pytest.raises(ValueError, match="different names"):
        train_many([base, base], tmp_path)


DISTRIBUTED = """
import sys, json
import torch
from ufm.torch import RunConfig, train
torch.set_num_threads(1)
config = RunConfig.from_dict(json.loads(sys.argv[1]))
run = train(config, sys.argv[2], device="cpu")
assert run.status == "finished"
# A second run in the same processes.
assert train(config, sys.argv[2] + "-again", device="cpu").status == "finished"
"""


def test_two_gloo_processes_agree_with_one(tmp_path):
    """What torchrun starts: two processes on the loopback share every batch."""
    config = _config(training__epochs=8, training__oversample=[1, 1, 1, 2, 2, 2])
    one = train(config, tmp_path / "one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", DISTRIBUTED, json.dumps(config.to_dict())]
    children = [
        subprocess.Popen(
            [*command, str(tmp_path / "two")],
            env={**child_environment(), **shared, "RANK": str(r), "LOCAL_RANK": str(r)},
            stderr=subprocess.PIPE,
        )
        for r in range(2)
    ]
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    two = load_run(tmp_path / "two")
    assert two.state["processes"] == 2
    np.testing.assert_allclose(two.final["Z_history"][0], one.final["Z_history"][0], rtol=1e-4)
    np.testing.assert_allclose(two.final["Z"], one.final["Z"], atol=2e-2)


def test_command_line(tmp_path, run_python):
    protocol = tmp_path / "mine.toml"
    protocol.write_text(
        """
        title = "two tiny runs"
        [data]
        counts = "10x3"
        [model]
        hidden = [8]
        width = 8
        [penalty]
        lambda_z = 0.05
        lambda_b = 0.1
        [training]
        epochs = 2
        [grid]
        "model.features" = ["linear", "relu"]
        """
    )
    script = f"""
import sys
from ufm.cli.app import run
first = run(["train", {str(protocol)!r}, "--out", {str(tmp_path)!r}])
again = run(["train", {str(protocol)!r}, "--out", {str(tmp_path)!r}])
listed = run(["train"])
bad = run(["train", "figure77"])
sys.exit(0 if (first, again, listed, bad) == (0, 0, 0, 2) else 1)
"""
    done = run_python(script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("finished") == 2
    assert "figure9-cpu" in done.stdout
    assert "figure77" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert load_run(tmp_path / "mine" / "relu").status == "finished"


def test_an_edited_protocol_is_refused_before_any_training(tmp_path, capsys):
    from ufm.cli.app import run

    protocol = tmp_path / "mine.toml"
    text = """
        data = {counts = "10x3"}
        model = {hidden = [8], width = 8}
        penalty = {lambda_z = 0.05, lambda_b = 0.1}
        training = {epochs = 2}
        grid = {"model.features" = ["linear", "relu"]}
        """
    protocol.write_text(text)
    arguments = ["train", str(protocol), "--out", str(tmp_path)]
    assert run([*arguments, "--only", "relu"]) == 0
    before = (tmp_path / "mine" / "relu" / "run.json").read_bytes()
    capsys.readouterr()
    protocol.write_text(text.replace("lambda_b = 0.1", "lambda_b = 0.2"))
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert "holds a run of another configuration" in error and error.count("\n") == 1
    assert not (tmp_path / "mine" / "linear").exists()
    assert (tmp_path / "mine" / "relu" / "run.json").read_bytes() == before


def test_a_config_that_is_none_is_named(tmp_path):
    with pytest.raises(TypeError, match="config must be a RunConfig, got"):
        train({"a": 1}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for change, name in (({"seed": -1}, "seed"), ({"data": {"seed": -1}}, r"data\.seed")):
        with pytest.raises(ValueError, match=f"^{name} must be an integer from 0"):
            RunConfig.from_dict(change)
