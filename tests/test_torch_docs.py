"""The programs in the documentation run as they stand, on a small network of the reader's own."""

from __future__ import annotations

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")

from torch import nn  # noqa: E402

from conftest import ROOT  # noqa: E402

K, WIDTH, COUNTS = 4, 6, (20, 20, 8, 8)
DECAY = 0.01


class Network(nn.Module):
    """Somebody's model: nothing of ufm in it."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, WIDTH), nn.ReLU())
        self.fc = nn.Linear(WIDTH, K)

    def forward(self, inputs):
        return self.fc(self.features(inputs))


def _blocks(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def own():
    """What the reader has: a model, data and an optimizer, under the names of the documentation."""
    torch.manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(COUNTS))
    inputs = torch.randn(len(labels), 5) + 2 * torch.eye(K, 5)[labels]
    dataset = torch.utils.data.TensorDataset(inputs, labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=DECAY)
    for batch, target in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), target).backward()
        optimizer.step()
    return {
        "model": model,
        "dataset": dataset,
        "loader": loader,
        "train_loader": loader,
        "optimizer": optimizer,
        "device": "cpu",
    }


def _by_hand(own):
    inputs, labels = own["dataset"].tensors
    with torch.no_grad():
        h = own["model"].features(inputs).double().numpy()
    means = np.stack([h[labels.numpy() == k].mean(0) for k in range(K)])
    return own["model"].fc.weight.detach().double().numpy() @ means.T


def test_comparison_in_five_lines(own, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    program = _blocks("compare.md")[0]
    assert len([line for line in program.splitlines() if line.strip()]) == 5
    exec(program, own)
    printed = capsys.readouterr().out
    found = own["found"]
    assert found.lambda_z == pytest.approx(np.sqrt(DECAY * 1e-5))
    assert found.lambda_b == pytest.approx(DECAY)
    np.testing.assert_array_equal(found.counts, COUNTS)
    np.testing.assert_allclose(found.Z, _by_hand(own), rtol=1e-5, atol=1e-7)
    assert {fit.name for fit in found.fits} == {"free", "nonnegative"}
    for words in ("Z, relative error", "b, relative error", "verdicts as predicted", "nearer"):
        assert words in printed
    assert (tmp_path / "z.png").stat().st_size > 5000
    record = found.to_dict()
    assert record["theories"]["free"]["errors"]["Z_relative"] > 0


def test_metrics_in_five_lines(own, capsys):
    program, during = _blocks("metrics.md")[:2]
    assert len([line for line in program.splitlines() if line.strip()]) <= 5
    exec(program, own)
    assert "  nc1  " in capsys.readouterr().out
    np.testing.assert_allclose(own["found"].Z, _by_hand(own), rtol=1e-5, atol=1e-7)
    # Its sizes are those of the page's own example.
    exec(during.replace("num_classes=10, dim=512", f"num_classes={K}, dim={WIDTH}"), own)
    assert "nc1" in capsys.readouterr().out


def test_the_loss_in_ones_own_loop(own):
    program = _blocks("training.md")[0]
    assert "ufm_loss" in program
    inputs, labels = own["dataset"].tensors
    model = own["model"]
    own.update(features=model.features(inputs), labels=labels, progress=0.25)
    exec(program, own)
    penalty = own["penalty"]
    assert (penalty.num_samples, penalty.lambda_z) == (sum(COUNTS), pytest.approx(0.0027))
    assert own["activation"].slope == pytest.approx(0.2 * (1 - 0.25 / 0.85))
    assert torch.isfinite(own["loss"])
    assert abs(float(model.fc.bias.detach().sum())) < 1e-6
