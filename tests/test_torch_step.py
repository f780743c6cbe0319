"""What one step does to the device: no waiting, memory format, mixed precision; torchrun."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from conftest import child_environment  # noqa: E402
from ufm.torch import RunConfig, load_protocol, load_run, train, train_many  # noqa: E402
from ufm.torch._world import World  # noqa: E402
from ufm.torch.training import _Training  # noqa: E402

CPU = World(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _config(network="mlp", **training):
    return RunConfig.from_dict(
        {
            "data": {"counts": "12x3,6x3"},
            "model": {
                "network": network,
                "features": "relu",
                "hidden": [10],
                "width": 8,
                "slope": 0.2,
            },
            "penalty": {"lambda_z": 0.02, "lambda_b": 0.05, "ramp_until": 0.5},
            "training": {"epochs": 3, "batch_size": 16, **training},
        }
    )


class _Recorder(TorchDispatchMode):
    """Names of the operations that PyTorch runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name().removeprefix("aten::").split(".")[0])
        return func(*args, **(kwargs or {}))


# What brings a value or a size to the host, and so waits for a GPU.
WAITS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "unique",
    "_unique2",
    "equal",
}


def test_the_recorder_sees_what_waits():
    with _Recorder() as recorder:
        float(torch.ones(3).sum())
    assert "_local_scalar_dense" in recorder.names


@pytest.mark.parametrize("network", ["mlp", "cnn"])
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"optimizer": "sgd", "weight_decay": 1e-3},
        {"class_weights": [1, 1, 1, 2, 2, 2], "centre_bias": True, "bias_rate": 3.0},
        {"precision": "bfloat16", "oversample": [1, 1, 1, 2, 2, 2]},
        {"memory_format": "channels_last"},
    ],
    ids=str,
)
def test_no_step_waits_for_the_device(tmp_path, network, training):
    run = _Training(_config(network, **training), tmp_path, None, CPU, 0.0, None)
    run.model.train()
    batches = run.batches.epoch(0, CPU.device)
    run.stepper.step(next(batches), 0.0)  # the optimizer makes its state
    with _Recorder() as recorder:
        for progress in (0.3, 0.9):
            run.stepper.step(next(batches), progress)
    assert not WAITS & set(recorder.names)
    assert len(recorder.names) > 20


def _convolution_seen(tmp_path, **training):
    """The first convolution's input and output, and the features, in a step."""
    run = _Training(_config("cnn", **training), tmp_path, None, CPU, 0.0, None)
    seen = []
    first = next(m for m in run.model.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    run.model.fc.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    run.model.train()
    run.stepper.step(next(run.batches.epoch(0, CPU.device)), 0.0)
    (image, maps), (features, logits) = seen
    return image, maps, features, logits, first.weight


def test_memory_format_reaches_the_convolutions(tmp_path):
    last = torch.channels_last
    image, maps, *_ = _convolution_seen(tmp_path, memory_format="channels_last")
    assert image.is_contiguous(memory_format=last)
    assert maps.is_contiguous(memory_format=last) and not maps.is_contiguous()
    for name in ("auto", "contiguous"):
        assert _convolution_seen(tmp_path, memory_format=name)[1].is_contiguous()


def test_mixed_precision_ends_before_the_classifier(tmp_path):
    _, maps, features, logits, weight = _convolution_seen(tmp_path, precision="bfloat16")
    assert (maps.dtype, weight.dtype) == (torch.bfloat16, torch.float32)
    assert (features.dtype, logits.dtype) == (torch.float32, torch.float32)
    _, maps, *_ = _convolution_seen(tmp_path)
    assert maps.dtype == torch.float32


def test_memory_format_and_precision_change_little(tmp_path):
    base = train(_config("cnn"), tmp_path / "a").final["Z"]
    last = train(_config("cnn", memory_format="channels_last"), tmp_path / "b").final["Z"]
    np.testing.assert_allclose(last, base, rtol=1e-2, atol=1e-3 * np.abs(base).max())
    mixed = train(_config("cnn", precision="bfloat16"), tmp_path / "c").final["Z"]
    assert 0 < np.linalg.norm(mixed - base) < 0.1 * np.linalg.norm(base)
    with pytest.raises(ValueError, match="memory_format must be one of auto"):
        _config(memory_format="planar")


PROTOCOL = """
[data]
counts = "12x3,6x3"
[model]
hidden = [10]
width = 8
[penalty]
lambda_b = 0.05
[training]
epochs = 6
batch_size = 16
measure_every = 2
[grid]
"penalty.lambda_z" = [0.01, 0.02]
"training.optimizer" = ["adam", "sgd"]
"""


@pytest.mark.slow
def test_torchrun_gives_the_same_networks(tmp_path):
    """Two processes on the loopback, as the documentation starts them, against one."""
    path = tmp_path / "tiny.toml"
    path.write_text(PROTOCOL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [
            *[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"],
            *["--master-addr", "127.0.0.1", "--master-port", str(port)],
            *["-m", "ufm.cli", "train", str(path), "--out", str(tmp_path), "--device", "cpu"],
        ],
        env={**child_environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished") == 4  # by the first process alone
    configs = load_protocol(path).runs()
    for one in train_many(configs, tmp_path / "one"):
        two = load_run(tmp_path / "tiny" / one.config.name)
        assert (two.state["processes"], one.state["processes"]) == (2, 1)
        scale = np.abs(one.final["Z"]).max()
        np.testing.assert_allclose(two.final["Z"], one.final["Z"], rtol=1e-3, atol=1e-4 * scale)
        np.testing.assert_allclose(two.final["b"], one.final["b"], rtol=1e-3, atol=1e-5)
        assert two.metrics["nc1"] == pytest.approx(one.metrics["nc1"], rel=1e-2)
    assert "RANK" not in os.environ
