"""Rehearsals of runs, and of every protocol in full size with its real networks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from ufm.counts import load_counts  # noqa: E402
from ufm.torch import (  # noqa: E402
    Images,
    RunConfig,
    imbalanced_subset,
    load_protocol,
    rehearse,
    train,
)
from ufm.torch.data.images import Split  # noqa: E402

FULL = [f"figure{number}" for number in range(1, 10)]
MODES = ["corrected", "as_published"]
SHAPES = {"cifar10": (3, 32, 32), "fashion-mnist": (1, 28, 28)}
TINY = {
    "data": {"counts": "12x3,6x3"},
    "model": {"hidden": [10], "width": 8},
    "penalty": {"lambda_z": 0.02, "lambda_b": 0.05, "ramp_until": 0.5},
    "training": {"epochs": 5, "batch_size": 16, "weight_decay": 0.01},
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_rehearsal_tells_what_the_run_would_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig.from_dict(TINY)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found = rehearse(config, steps=9)  # more than an epoch's four
    assert torch.equal(torch.rand(2), expected)  # the caller's random state is left alone
    assert not list(tmp_path.iterdir())
    assert found.works and len(found.losses) == 9
    assert found.counts == (12, 12, 12, 6, 6, 6)
    assert found.steps == 5 * math.ceil(54 / 16)
    assert found.parameters == (64 * 10 + 10) + (10 * 8 + 8) + (8 * 6 + 6)
    assert found.seconds == pytest.approx(found.steps * found.seconds_per_step)
    run = train(config, tmp_path / "run")
    assert found.lambda_z == run.state["lambda_z"] > 0.02  # weight decay counts
    assert found.lambda_b == run.state["lambda_b"]


def test_a_loss_that_is_not_finite_is_told():
    record = {**TINY, "training": {**TINY["training"], "optimizer": "sgd", "learning_rate": 1e12}}
    assert not rehearse(RunConfig.from_dict(record), steps=6).works


def test_bad_input():
    with pytest.raises(ValueError, match="steps must be at least 2"):
        rehearse(RunConfig.from_dict(TINY), steps=1)
    whitened = {**TINY, "data": {"counts": "12x3,6x3", "whiten": 500}}
    with pytest.raises(ValueError, match="whiten must be at most"):
        rehearse(RunConfig.from_dict(whitened))


def test_command_line(tmp_path, capsys, monkeypatch):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from ufm.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "figure5-digits", "--check", "--only", "plain_relu_lambda_z=0.0060"]) == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line.startswith("plain_relu_lambda_z=0.006037: works on ")
    assert "N = 600, lambda_z = 0.006037, lambda_b = 0.02, 1000 steps of " in line
    assert total.startswith("1 runs: ")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------- full size


def _images(name, sizes, shape, test_sizes=None):
    """Noise of a data set's shape with so many images of each class."""
    rng = np.random.default_rng(0)

    def split(numbers):
        labels = np.repeat(np.arange(len(numbers)), numbers)
        pixels = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
        return Split(pixels, labels.astype(np.int64))

    return Images(name, split(sizes), split(test_sizes or sizes), tuple("abcdefghij"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FULL)
def test_counts_fit_the_data_sets(name, mode):
    """Both data sets have ten classes of 5000 (6000) training and 1000 test images."""
    small = {source: _images(source, [n] * 10, (1, 1, 1), [1000] * 10)
             for source, n in (("cifar10", 5000), ("fashion-mnist", 6000))}  # fmt: skip
    for config in load_protocol(name).runs(mode):
        counts = load_counts(config.data.counts)
        subset = imbalanced_subset(small[config.data.source], counts, config.data.seed)
        np.testing.assert_array_equal(np.bincount(subset.train.labels), counts)
        if config.data.source == "cifar10":
            np.testing.assert_array_equal(subset.topped_up, np.maximum(counts - 5000, 0))


def _convolutions(plan, channels):
    total = 0
    for size in plan:
        total += 9 * channels * size + size + 2 * size  # weights, biases, batch norm
        channels = size
    return total


def _parameters(network, channels):
    """Counted by hand: published numbers for CIFAR-style networks."""
    if network == "resnet18":
        return 11_173_962 - (3 - channels) * 9 * 64
    plan = {
        "vgg11": [64, 128, 256, 256, 512, 512, 512, 512],
        "vgg13": [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
    }[network]
    dense = (512 * 4096 + 4096 + 2 * 4096) + (4096 * 4096 + 4096 + 2 * 4096)
    return _convolutions(plan, channels) + dense + 4096 * 10 + 10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["figure2", "figure3", "figure4"])
def test_other_pictures_of_the_same_runs(name, mode):
    """So that what is tested of figure 1 below holds for them too."""
    known = load_protocol("figure1").runs(mode)
    assert all(config in known for config in load_protocol(name).runs(mode))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(set(FULL) - {"figure2", "figure3", "figure4"}))
def test_full_size_networks_take_steps(name, mode):
    """Every network, data set and variant, with a hundredth of the images in small batches."""
    seen = {}
    for config in load_protocol(name).runs(mode):
        variant = config.penalty.ramp_until, config.model.slope, config.training.centre_bias
        seen.setdefault((config.model.network, config.data.source, variant), config)
    assert len({source for _, source, _ in seen}) == (2 if name == "figure1" else 1)
    for (network, source, _), config in seen.items():
        counts = load_counts(config.data.counts)
        fewer = np.maximum(counts // 100, 2).astype(int)
        smaller = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, counts=",".join(map(str, fewer))),
            training=dataclasses.replace(config.training, batch_size=8),
        )
        images = _images(source, fewer, SHAPES[source])
        found = rehearse(smaller, steps=4, images=images)
        assert found.works, (config.name, found.losses)
        assert found.parameters == _parameters(network, SHAPES[source][0])
        assert found.steps == config.training.epochs * math.ceil(fewer.sum() / 8)
