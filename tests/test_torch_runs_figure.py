"""Trained networks beside the theory, on folders of runs whose numbers are known."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import ufm
from ufm import figures
from ufm.torch import RunConfig
from ufm.torch.run_folder import (
    read_config,
    write_config,
    write_final,
    write_metrics,
    write_state,
)

COUNTS = (50, 50, 50, 10, 10)
N = sum(COUNTS)
THRESHOLD = math.sqrt(10) / N
CENTRING = np.eye(5) - 1 / 5


def _write(folder, name, features, ratio, change=None, *, counts=COUNTS, status="finished"):
    """A run whose Z and b are theory's, changed at the last of three measurements."""
    lambda_z = ratio * THRESHOLD
    solve = ufm.solve if features == "linear" else ufm.nonnegative_solution
    theory = solve(counts, lambda_z, 0.02, tol=1e-10)
    Z, b = theory.Z.copy(), theory.b.copy()
    if change is not None:
        Z, b = change(Z, b)
    config = RunConfig.from_dict(
        {
            "name": name,
            "data": {"source": "digits", "counts": ",".join(map(str, counts))},
            "model": {"features": features},
            "penalty": {"lambda_z": lambda_z, "lambda_b": 0.02, "ramp_until": 0.5},
        }
    )
    path = folder / name
    path.mkdir(parents=True)
    write_config(path, config)
    write_state(path, {"status": status, "lambda_z": lambda_z, "lambda_b": 0.02, "seconds": 1.0})
    rows = [
        {
            "epoch": float(epoch),
            "polish_iterations": float(polish),
            "objective": theory.objective + 0.5 / (i + 1),
            "nc1": 10.0**-i,
            "accuracy": 0.5,
        }
        for i, (epoch, polish) in enumerate([(1, 0), (2, 0), (2, 30)])
    ]
    write_metrics(path, rows)
    if status == "finished":
        write_final(
            path,
            {
                "Z": Z,
                "b": b,
                "counts": np.array(counts),
                "effective_counts": np.array(counts),
                "Z_history": np.stack([2 * theory.Z, Z, Z]),
                "b_history": np.stack([theory.b, b, b]),
                "test_accuracy": np.array([0.9, 0.8, 0.7, 0.2, 0.0]),
            },
        )
    return theory


def _by_name(folder):
    return {found.run.config.name: found.record() for found in figures.read_runs(folder)}


def test_exact_runs_have_no_error_and_the_right_verdict(tmp_path):
    for features in ("linear", "relu"):
        for ratio in (0.6, 1.3):
            _write(tmp_path / "p", f"remedied_{features}_lambda_z={ratio}", features, ratio)
    records = _by_name(tmp_path / "p")
    assert len(records) == 4
    for name, row in records.items():
        assert row["error_z"] < 1e-6 and row["max_error_z"] < 1e-6 and row["error_b_centred"] < 1e-6
        assert row["verdict_right"] and row["collapsed"] == ("1.3" in name)
        assert row["lambda_z_over_threshold"] == pytest.approx(1.3 if "1.3" in name else 0.6)
        assert (row["variant"], row["dead_classes"]) == ("remedied", 0)
        assert row["theory"] == ("free" if "linear" in name else "nonnegative")
        assert row["error_z_other_theory"] > 0.01
        assert row["excess_objective"] == pytest.approx(0.5 / 3, abs=1e-6)
        assert row["test_accuracy_majority"] == pytest.approx(0.8)
        assert row["test_accuracy_minority"] == pytest.approx(0.1)
        assert row["remedies"] == "ramp from 0 until 0.5"


def test_errors_by_hand(tmp_path):
    shift = np.array([0.0, 0, 0, 0.3, -0.3])

    def change(Z, b):
        Z[3, 3] += 0.25
        return Z, b + shift + 0.1

    theory = _write(tmp_path / "p", "plain_linear_lambda_z=1", "linear", 0.6, change)
    (row,) = _by_name(tmp_path / "p").values()
    assert row["max_error_z"] == pytest.approx(0.25, abs=1e-6)
    assert row["max_error_b"] == pytest.approx(0.4, abs=1e-6)
    assert row["error_z"] == pytest.approx(0.25 / np.linalg.norm(theory.Z), rel=1e-5)
    centred = np.linalg.norm(CENTRING @ theory.b)
    assert row["error_b_centred"] == pytest.approx(np.linalg.norm(shift) / centred, rel=1e-5)
    raw = np.linalg.norm(shift + 0.1) / np.linalg.norm(theory.b)
    assert row["error_b"] == pytest.approx(raw, rel=1e-5)
    (found,) = figures.read_runs(tmp_path / "p")
    history = found.history()
    assert history["error_z"][0] == pytest.approx(1.0, rel=1e-6)  # twice theory's Z
    assert history["error_z_max_norm"][0] == pytest.approx(1.0, rel=1e-6)
    assert history["error_z"][1:] == pytest.approx([row["error_z"]] * 2)
    assert row["error_z_max_norm"] == pytest.approx(0.25 / np.abs(theory.Z).max(), rel=1e-5)
    largest = np.abs(CENTRING @ theory.b).max()
    assert row["error_b_max_norm"] == pytest.approx(0.3 / largest, rel=1e-5)
    other = ufm.nonnegative_solution(COUNTS, theory.lambda_z, 0.02, tol=1e-10)
    apart = np.linalg.norm(2 * theory.Z - other.Z) / np.linalg.norm(other.Z)
    assert history["error_z_other_theory"][0] == pytest.approx(apart, rel=1e-5)
    assert list(found.epochs) == [1, 2, 32]


def test_dead_and_merged_classes_and_their_epochs(tmp_path):
    def kill(Z, b):
        Z[:, 4] = 0
        return Z, b

    def merge(Z, b):
        Z[:, 3:] = Z[:, 3:].mean(1, keepdims=True)
        return Z, b

    _write(tmp_path / "p", "plain_relu_a", "relu", 0.6, kill)
    _write(tmp_path / "p", "plain_linear_b", "linear", 0.6, merge)
    records = _by_name(tmp_path / "p")
    killed, merged = records["plain_relu_a"], records["plain_linear_b"]
    assert (killed["dead_classes"], killed["dead_from"]) == (1, "2")
    assert killed["verdict_right"] and math.isnan(killed["merged_from"])
    assert (merged["dead_classes"], merged["merged_from"]) == (0, 2.0)
    assert merged["collapsed"] and not merged["collapsed_predicted"]
    assert not merged["verdict_right"]


def test_zero_theory_has_no_relative_error(tmp_path):
    _write(tmp_path / "p", "plain_linear_far", "linear", 10.0, lambda Z, b: (Z + 1e-4, b))
    (row,) = _by_name(tmp_path / "p").values()
    assert math.isnan(row["error_z"])
    assert row["max_error_z"] == pytest.approx(1e-4)
    assert row["collapsed"] and row["verdict_right"]


@pytest.mark.parametrize("kind", [*range(1, 10), "spread", "accuracy"])
def test_pictures(tmp_path, kind):
    for variant in ("plain", "remedied"):
        for features in ("linear", "relu"):
            _write(tmp_path / "p", f"{variant}_{features}_lambda_z=1", features, 0.6)
    _write(tmp_path / "p", "plain_linear_lambda_z=2", "linear", 1.2)  # others have no such run
    picture = figures.save(figures.runs_figure(kind, tmp_path / "p").draw(), tmp_path / "a.png")
    assert picture.stat().st_size > 3000


def test_panels_show_the_networks_own_numbers(tmp_path):
    def change(Z, b):
        return Z * 1.5, b

    theory = _write(tmp_path / "p", "plain_linear_lambda_z=1", "linear", 0.6, change)
    axes = [ax for ax in figures.runs_figure(5, tmp_path / "p").draw().axes if ax.images]
    drawn = [np.asarray(ax.images[0].get_array()) for ax in axes]
    other = ufm.nonnegative_solution(COUNTS, theory.lambda_z, 0.02, tol=1e-10)
    assert len(drawn) == 3
    assert drawn[0] == pytest.approx(theory.Z, abs=1e-6)
    assert drawn[1] == pytest.approx(1.5 * theory.Z, abs=1e-6)
    assert drawn[2] == pytest.approx(other.Z, abs=1e-6)


def _images(figure):
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def test_figure_2_scales_each_panel(tmp_path):
    def change(Z, b):
        return 3 * Z + 1, b

    theory = _write(tmp_path / "p", "resnet18_digits_50x3+10x2", "relu", 0.6, change)
    free, positive, network = _images(figures.runs_figure(2, tmp_path / "p").draw())
    expected = (theory.Z - theory.Z.min()) / np.ptp(theory.Z)
    assert positive == pytest.approx(expected, abs=1e-6)
    assert network == pytest.approx(expected, abs=1e-6)
    assert (free.min(), free.max()) == (0.0, 1.0)
    assert np.abs(free - expected).max() > 0.01
    (found,) = figures.read_runs(tmp_path / "p")
    assert found.variant == "resnet18"


def test_figure_4_has_both_theories_and_names_the_right_one(tmp_path):
    def change(Z, b):
        return 1.01 * Z, b

    theory = _write(tmp_path / "p", "plain_relu_a", "relu", 0.6, change)
    free = ufm.solve(COUNTS, theory.lambda_z, 0.02, tol=1e-10)
    figure = figures.runs_figure(4, tmp_path / "p").draw()
    for drawn, Z in zip(_images(figure), (1.01 * theory.Z, free.Z, theory.Z), strict=True):
        assert drawn == pytest.approx(Z, abs=1e-6)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.images]
    apart = 100 * np.linalg.norm(1.01 * theory.Z - free.Z) / np.linalg.norm(free.Z)
    assert titles[1] == f"theory, free\nerror {apart:.3g} %"
    assert titles[2] == "theory, nonnegative\nerror 1 %"


def test_figure_9_compares_rows_of_published_runs(tmp_path):
    counts = (50, 50, 50, 25, 25)
    theory = _write(tmp_path / "p", "relu", "relu", 0.1, counts=counts)
    path = tmp_path / "p" / "relu"
    columns = figures.runs_figure(9, tmp_path / "p").records()[0]
    config = dataclasses.replace(read_config(path), mode="as_published")
    write_config(path, config)
    found = figures.runs_figure(9, tmp_path / "p")
    rows = found.records()[0]
    for record, Z in ((columns, theory.Z), (rows, theory.Z.T)):
        unit = Z / np.linalg.norm(Z, axis=0)
        cosines = unit.T @ unit
        assert record["cosine_a"] == pytest.approx(cosines[0, 1], abs=1e-5)
        assert record["cosine_b"] == pytest.approx(cosines[3, 4], abs=1e-5)
        assert record["cosine_ab"] == pytest.approx(cosines[0, 4], abs=1e-5)
    assert abs(columns["cosine_b"] - rows["cosine_b"]) > 1e-3
    assert found.draw().axes[0].get_ylabel() == "mean cosine of rows of Z"
    again = figures.runs_figure(9, tmp_path / "p", vectors="columns").records()[0]
    assert again["cosine_b"] == columns["cosine_b"]


def test_only_runs_without_remedies_are_plain(tmp_path):
    _write(tmp_path / "p", "relu", "relu", 0.6)
    _write(tmp_path / "p", "linear", "linear", 0.6)
    config = read_config(tmp_path / "p" / "linear")
    bare = dataclasses.replace(config.penalty, ramp_until=0.0)
    write_config(tmp_path / "p" / "linear", dataclasses.replace(config, penalty=bare))
    rows = _by_name(tmp_path / "p")
    assert (rows["relu"]["variant"], rows["linear"]["variant"]) == ("remedied", "plain")
    assert (rows["relu"]["remedies"] != "none", rows["linear"]["remedies"]) == (True, "none")


def test_unfinished_runs_are_left_out_and_bad_folders_refused(tmp_path):
    _write(tmp_path / "p", "plain_linear_a", "linear", 0.6, status="running")
    with pytest.raises(ValueError, match=r"no finished run \(1 unfinished\)"):
        figures.read_runs(tmp_path / "p")
    _write(tmp_path / "p", "plain_linear_b", "linear", 0.6)
    assert len(figures.read_runs(tmp_path / "p")) == 1
    with pytest.raises(FileNotFoundError, match="does not exist"):
        figures.read_runs(tmp_path / "q")
    with pytest.raises(ValueError, match="1 to 9, got 10"):
        figures.runs_figure(10, tmp_path / "p")
    with pytest.raises(ValueError, match="kind"):
        figures.runs_figure("nothing", tmp_path / "p")


def _without(name, key):
    """A change of a run's folder: one of its files lacks `key`."""

    def change(folder):
        path = folder / name
        if name == "final.npz":
            with np.load(path) as stored:
                write_final(folder, {k: stored[k] for k in stored.files if k != key})
        elif name == "run.json":
            state = json.loads(path.read_text())
            write_state(folder, {k: value for k, value in state.items() if k != key})
        elif key:
            path.write_text(path.read_text().replace(key, "other"))
        else:
            path.write_text("")

    return change


def _replaced(key, value):
    def change(folder):
        with np.load(folder / "final.npz") as stored:
            write_final(folder, {**stored, key: value})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "metrics.csv").unlink(), ["metrics.csv", "no 'epoch'"]),
        (_without("metrics.csv", ""), ["metrics.csv", "no 'epoch'"]),
        (_without("metrics.csv", "nc1"), ["metrics.csv", "no 'nc1'"]),
        (_without("final.npz", "Z"), ["final.npz", "no 'Z'"]),
        (_without("final.npz", "b_history"), ["final.npz", "no 'b_history'"]),
        (_without("run.json", "lambda_z"), ["run.json", "no 'lambda_z'"]),
        (_without("run.json", "lambda_b"), ["run.json", "no 'lambda_b'"]),
        (_replaced("means", np.full((5, 2), np.nan)), ["final.npz", "'means'", "not finite"]),
        (_replaced("b", np.ones(4)), ["final.npz", "'b'", "(4,)"]),
        (_replaced("counts", np.array(list("abcde"))), ["final.npz", "'counts'"]),
        (_replaced("Z", np.ones(5)), ["final.npz", "'Z'", "(5,)"]),
    ],
)
def test_damaged_runs_are_told_in_a_line(tmp_path, capsys, change, words):
    pytest.importorskip("click")
    from ufm.cli import main

    _write(tmp_path / "p", "plain_linear_a", "linear", 0.6)
    change(tmp_path / "p" / "plain_linear_a")
    arguments = ["--runs", str(tmp_path / "p"), "--out", str(tmp_path / "a.png")]
    assert main(["figure", "5", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in [*words, "plain_linear_a", "is damaged"])


def test_runs_that_lost_a_file_are_named(tmp_path, capsys):
    pytest.importorskip("click")
    from ufm.cli import main

    for name in "abc":
        _write(tmp_path / "p", name, "linear", 0.6)
    (tmp_path / "p" / "a" / "final.npz").unlink()
    (tmp_path / "p" / "b" / "run.json").unlink()
    lost = {"a": "no final.npz", "b": "no run.json"}
    assert figures.runs_figure(5, tmp_path / "p").left_out == lost
    arguments = ["--runs", str(tmp_path / "p"), "--out", str(tmp_path / "a.png")]
    assert main(["figure", "5", *arguments]) == 0
    error = capsys.readouterr().err
    assert error == "ufm figure: not shown, damaged: a (no final.npz), b (no run.json)\n"


def test_command_line(tmp_path, capsys):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from ufm.cli import main

    _write(tmp_path / "p", "plain_linear_a", "linear", 0.6)
    picture, numbers = tmp_path / "a.png", tmp_path / "a.csv"
    options = ["--runs", str(tmp_path / "p"), "--out", str(picture), "--numbers", str(numbers)]
    assert main(["figure", "5", *options]) == 0
    assert "plain_linear_a" in capsys.readouterr().out
    with open(numbers, newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["run"] == "plain_linear_a" and float(row["error_z"]) < 1e-6
    assert picture.stat().st_size > 3000
    assert main(["figure", "3", "--runs", str(tmp_path / "p"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["dead_classes"] == 0
    assert main(["figure", "5", *options, "--features", "free"]) == 2
    assert "--features does not go with --runs" in capsys.readouterr().err
    assert main(["figure", "1", "--runs", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
