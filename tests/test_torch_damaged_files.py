"""Files of runs and protocols that are damaged or mistyped are refused, and told."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest

pytest.importorskip("torch")

import numpy as np

import ufm.torch
from ufm.torch.config import RunConfig
from ufm.torch.run_folder import (
    CONFIG,
    FINAL,
    METRICS,
    STATE,
    is_done,
    load_run,
    write_config,
    write_final,
)

FINISHED = '{"status": "finished"}'


def _packed(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def _saved(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    write_config(tmp_path, RunConfig())
    (tmp_path / STATE).write_text(FINISHED)
    (tmp_path / METRICS).write_text("epoch,loss\n1,0.5\n")
    write_final(tmp_path, {"Z": np.eye(40)})
    return tmp_path


def test_a_whole_run_is_read(folder):
    run = load_run(folder)
    assert run.status == "finished"
    assert run.metrics["loss"].tolist() == [0.5]
    assert np.array_equal(run.final["Z"], np.eye(40))


@pytest.mark.parametrize("place", [30, 60, 130, 400, 5000, -60, -20])
def test_a_flipped_byte_in_the_arrays_is_told(folder, place):
    content = bytearray((folder / FINAL).read_bytes())
    content[place] ^= 0x55
    (folder / FINAL).write_bytes(content)
    refusal = ""
    try:
        run = load_run(folder)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert str(folder) in refusal and "cannot be read" in refusal
    else:  # a byte that nothing depends on
        assert np.array_equal(run.final["Z"], np.eye(40))


@pytest.mark.parametrize("state", ["[1]", "{}", '"finished"', '{"status": 3}', "", "\0"])
def test_a_state_that_says_nothing_is_told(folder, state):
    (folder / STATE).write_text(state)
    assert not is_done(folder)
    with pytest.raises(ValueError, match=r"is damaged|cannot be read"):
        load_run(folder)


@pytest.mark.parametrize("metrics", ["epoch\nmany\n", "a,b\n1\n", "epoch\n\xff\0\n"])
def test_damaged_metrics_are_told(folder, metrics):
    (folder / METRICS).write_bytes(metrics.encode("latin-1"))
    with pytest.raises(ValueError, match=r"is damaged|cannot be read"):
        load_run(folder)


def test_a_damaged_configuration_is_told(folder):
    (folder / CONFIG).write_text("seed = 'no number'")
    with pytest.raises((ValueError, TypeError), match="seed"):
        load_run(folder)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("epochs = 100\n", "", "the key 'training.epochs' is missing"),
        ("[data]", "[data]\nseeds = 1", "unknown key 'data.seeds'"),
        ('features = "linear"', 'features = "foo"', "model.features must be one of"),
        ('network = "mlp"', 'network = "foo"', "model.network must be one of"),
        ('batch_norm = "own"', 'batch_norm = "foo"', "model.batch_norm must be one of"),
        ('source = "digits"', 'source = ""', "data.source must be"),
        ("lambda_z = 0.01", "lambda_z = -0.01", "penalty.lambda_z must be at least 0"),
        ("lambda_b = 0.0", "lambda_b = -1.0", "penalty.lambda_b must be at least 0"),
        ("seed = 0", "seed = -1", "seed must be an integer from 0"),
    ],
)
def test_an_incomplete_or_impossible_configuration_is_told(folder, old, new, told):
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"config\.toml cannot be read") as caught:
        load_run(folder)
    assert told in str(caught.value)


def test_an_empty_configuration_is_not_one_of_defaults(folder):
    (folder / CONFIG).write_text("")
    with pytest.raises(ValueError, match=r"config\.toml cannot be read: the key 'name' is miss"):
        load_run(folder)


def test_a_fault_is_told_once(folder):
    (folder / CONFIG).write_text("[[[[")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_run(folder)
    assert str(caught.value).count("cannot be read") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"garbage", "it is no .npz archive"),
        (b"", "it is no .npz archive"),
        (pickle.dumps([1]), "it is no .npz archive"),
        (_packed({"Z.npy": b"garbage"}), "'Z' in it "),
        (_packed({"notes": b"no array"}), "'notes' in it is no array"),
        (_packed({"Z.npy": _saved(np.array([{}], dtype=object))}), "'Z' in it holds Python"),
        (_saved(np.eye(2)), "a single array"),
    ],
)
def test_foreign_arrays_are_told_without_advice_to_trust_them(folder, content, told):
    (folder / FINAL).write_bytes(content)
    with pytest.raises(ValueError, match=r"final\.npz cannot be read") as caught:
        load_run(folder)
    assert told in str(caught.value)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title = 3", "'title' must be a string, got 3"),
        ("seeds = 5", "'seeds' must be a list of integers, got 5"),
        ("seeds = [[1]]", "'seeds' must be a list of integers"),
        ("figure = 'one'", "'figure' must be a list of integers"),
        ("only = [[1]]", "'only' must be a list of names"),
        ("data = 3", "'data' must be a table, got 3"),
        ("variants = [1]", "'variants' must be a table"),
        ("[variants]\na = 3", "variants: 'a' must be a table"),
        ("[variants.a]\nwhen = 3", "variants.a: 'when' must be a table"),
        ("as_published = 3", "'as_published' must be a table"),
        ("[as_published]\nvariants = 3", "as_published: 'variants' must be a list of names"),
        ("[grid]\n'data.seed' = 3", "grid: 'data.seed' must be a list of values"),
        ("[grid]\n'data.seed' = [{a = 1}]", "grid: 'data.seed' must be a list of numbers"),
        ("[grid]\n'.seed' = [1]", "'.seed' is no dotted key"),
        ("a = " + "[" * 5000, "nests its values too deeply"),
        ("runs_of = 'figure2-cpu'", "figure2-cpu is about another protocol's runs"),
    ],
)
def test_a_mistyped_protocol_is_told(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.toml|figure2") as caught:
        ufm.torch.load_protocol(path)
    assert told in str(caught.value)


def test_a_protocol_about_itself_ends(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f"runs_of = '{path}'")
    with pytest.raises(ValueError, match="must name a protocol of ufm"):
        ufm.torch.load_protocol(path)


def test_a_grid_that_no_one_can_train_is_told(tmp_path):
    path = tmp_path / "mine.toml"
    lists = "\n".join(f"'data.key{i}' = [1, 2, 3, 4, 5, 6, 7, 8]" for i in range(20))
    path.write_text(f"[grid]\n{lists}\n")
    with pytest.raises(ValueError, match=r"1\.15292e\+18 runs, at most 100,000"):
        ufm.torch.load_protocol(path)
