"""`collect` on models of several shapes: right numbers, and the model left as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
pytest.importorskip("torchmetrics", reason="TorchMetrics is not installed (extra torch)")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import ufm.torch  # noqa: E402
from ufm import metrics  # noqa: E402

K = 4


class Block(nn.Module):
    """A residual block, as in torchvision's networks."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.bn(self.conv(x)))


class SmallResNet(nn.Module):
    """torchvision's layout: stem, layers, average pool, flatten, fc."""

    def __init__(self, bias=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.layer1 = nn.Sequential(Block(6), Block(6))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(6, K, bias=bias)

    def features(self, x):
        x = self.layer1(self.bn1(self.conv1(x)).relu())
        return self.dropout(torch.flatten(x.mean((2, 3)), 1))

    def forward(self, x):
        return self.fc(self.features(x))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 20 + [1] * 12 + [2] * 7 + [3])
    x = torch.randn(40, 3, 8, 8, generator=generator) + labels[:, None, None, None]
    return TensorDataset(x, labels)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallResNet()


def expected(model, images):
    model.eval()
    with torch.no_grad():
        x, labels = images.tensors
        features = model.features(x)
        logits = model.fc(features)
    return metrics.class_statistics(features, labels, K), features, logits, labels


def test_every_metric_in_five_lines(model, images):
    loader = DataLoader(images, batch_size=16)
    found = ufm.torch.collect(model, loader, classifier="fc", nearest_mean=True)
    text = found.report().summary()
    assert text.startswith("Collapse metrics: K = 4, N = 40")

    statistics, features, logits, labels = expected(model, images)
    assert np.array_equal(found.W, model.fc.weight.detach().numpy())
    assert np.array_equal(found.b, model.fc.bias.detach().numpy())
    assert found.W.dtype == found.means.dtype == np.float64
    assert found.counts.tolist() == [20, 12, 7, 1]
    assert found.means == pytest.approx(statistics.means.numpy(), abs=1e-6)
    assert found.statistics.covariance == pytest.approx(statistics.covariance.numpy(), abs=1e-6)
    assert found.Z == pytest.approx(found.W @ statistics.means.numpy().T, abs=1e-5)
    correct = logits.argmax(1) == labels
    assert found.accuracy == pytest.approx(float(correct.double().mean()))
    assert found.class_accuracy == pytest.approx(
        [float(correct[labels == k].double().mean()) for k in range(K)]
    )
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    nc4 = metrics.nc4(features, statistics.means, model.fc.weight, model.fc.bias)
    assert float(found.nc4) == pytest.approx(float(nc4)) and found.nc4.samples == 40
    report = metrics.report(statistics, model.fc.weight, model.fc.bias).to_dict()
    assert found.report().to_dict() == pytest.approx(report, rel=1e-3, abs=1e-6)


def test_repr_and_notebook_table(model, images):
    found = ufm.torch.collect(model, DataLoader(images, 8), classifier="fc")
    assert repr(found).startswith("<ufm.Collected: 4 classes, 40 samples, accuracy ")
    text = found._repr_html_()
    assert "<caption>Classes</caption>" in text and text.count('<th scope="row">') == 5 + K


def test_the_model_and_the_generators_stay_as_they_were(model, images):
    model.train()
    model.layer1[0].bn.eval()  # one frozen layer must stay frozen
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    own = torch.Generator().manual_seed(7)
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    before = torch.get_rng_state(), random.getstate(), numpy_state, own.get_state()
    loader = DataLoader(images, batch_size=7, shuffle=True, generator=own)
    found = ufm.torch.collect(model, loader, "fc", nearest_mean=True)
    ufm.torch.collect(model, DataLoader(images, 7, shuffle=True), model.fc)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
    assert torch.equal(own.get_state(), before[3])
    assert not model.fc._forward_hooks and not model.fc._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    # Later training does not change what was collected.
    W = found.W.copy()
    with torch.no_grad():
        model.fc.weight.zero_()
    assert np.array_equal(found.W, W)


def test_an_error_leaves_nothing_behind(model, images):
    model.train()

    def broken():
        yield from DataLoader(images, batch_size=16)
        raise OSError("disk gone")

    state = torch.get_rng_state()
    with pytest.raises(OSError, match="disk gone"):
        ufm.torch.collect(model, broken(), "fc")
    with pytest.raises(RuntimeError):
        ufm.torch.collect(model, [(torch.ones(2, 5), torch.tensor([0, 1]))], "fc")
    with pytest.raises(ValueError, match="labels must be from 0 to 3"):
        ufm.torch.collect(model, [(torch.ones(1, 3, 8, 8), torch.tensor([9]))], "fc")
    with pytest.raises(KeyboardInterrupt):
        ufm.torch.collect(model, DataLoader(images), "fc", progress=interrupt)
    assert model.training and model.fc.training
    assert not model.fc._forward_hooks
    assert torch.equal(torch.get_rng_state(), state)


def interrupt(done, total):
    assert (done, total) == (1, 40)
    raise KeyboardInterrupt


def test_without_bias_covariance_or_some_classes(images):
    model = SmallResNet(bias=False)
    few = TensorDataset(*(tensor[:32] for tensor in images.tensors))
    found = ufm.torch.collect(model, DataLoader(few, 8), "fc", covariance=False, nearest_mean=True)
    assert found.b is None and found.statistics.covariance is None
    assert np.isnan(found.means[2:]).all() and np.isnan(found.class_accuracy[2:]).all()
    assert 0 <= found.accuracy <= 1 and found.loss > 0
    report = found.report()
    assert report.nc1 is None and report.num_empty == 2
    assert 0 <= float(found.nc4) <= 1


class Tagger(nn.Module):
    """Tokens in, one label a token; takes its inputs by name."""

    def __init__(self, width=5):
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(width, K))

    def forward(self, tokens, scale):
        return {"logits": self.head(self.embed(tokens) * scale)}


def test_tokens_by_name_and_ignored_labels():
    torch.manual_seed(1)
    model = Tagger()
    tokens = torch.randint(0, 11, (6, 9))
    labels = torch.randint(0, K, (6, 9))
    labels[:, -2:] = -100
    batches = [{"tokens": tokens, "scale": 2.0, "labels": labels}]
    found = ufm.torch.collect(model, batches, "head.1", ignore_index=-100, nearest_mean=True)
    kept = labels != -100
    features = torch.tanh(model.embed(tokens) * 2.0)[kept]
    direct = metrics.class_statistics(features, labels[kept], K)
    assert found.means == pytest.approx(direct.means.numpy(), abs=1e-6)
    assert found.counts.sum() == 42 == found.nc4.samples


class Compiled(nn.Module):
    """What `torch.compile` returns looks like this."""

    def __init__(self, inner):
        super().__init__()
        self._orig_mod = inner

    def forward(self, x):
        raise AssertionError("hooks set after compilation may not run")


def test_wrapped_models(model, images):
    loader = DataLoader(images, batch_size=16)
    plain = ufm.torch.collect(model, loader, "fc")
    for wrapped in (nn.DataParallel(model), Compiled(model), nn.DataParallel(Compiled(model))):
        found = ufm.torch.collect(wrapped, loader, "fc")
        assert np.array_equal(found.means, plain.means)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_models(model, images):
    loader = DataLoader(images, batch_size=16)
    compiled = torch.compile(model, backend="eager")
    compiled(images.tensors[0])
    found = ufm.torch.collect(compiled, loader, "fc")
    assert np.array_equal(found.means, ufm.torch.collect(model, loader, "fc").means)


def test_changes_in_place_after_the_classifier(model, images):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x).mul_(-1.0)

    loader = DataLoader(images, batch_size=16)
    assert (
        ufm.torch.collect(Scaled(), loader, "inner.fc").accuracy
        == ufm.torch.collect(model, loader, "fc").accuracy
    )


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_model_precision(model, images, precision):
    dtype = getattr(torch, precision)
    x, labels = images.tensors
    found = ufm.torch.collect(model.to(dtype), [(x.to(dtype), labels)], "fc")
    with torch.no_grad():
        features = model.eval().features(x.to(dtype))
    direct = metrics.class_statistics(features, labels)
    assert found.means == pytest.approx(direct.means.numpy(), rel=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device(model, images):
    loader = DataLoader(images, batch_size=16)
    plain = ufm.torch.collect(model, loader, "fc")
    state = torch.cuda.get_rng_state()
    found = ufm.torch.collect(model.cuda(), loader, "fc", nearest_mean=True)
    assert found.means == pytest.approx(plain.means, abs=1e-3)
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_bad_input_is_named(model, images):
    loader = DataLoader(images, batch_size=16)
    for classifier, kind, text in (
        ("head", ValueError, "its linear layers: fc"),
        (nn.Linear(6, K), ValueError, "a module of the model"),
        (3, TypeError, "a name or a module"),
        ("conv1", TypeError, "linear layer"),
    ):
        with pytest.raises(kind, match=text):
            ufm.torch.collect(model, loader, classifier)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        ufm.torch.collect(lambda x: x, loader, "fc")
    with pytest.raises(ValueError, match="at least one sample"):
        ufm.torch.collect(model, [], "fc")
    with pytest.raises(TypeError, match="pairs"):
        ufm.torch.collect(model, [torch.ones(2, 3, 8, 8)], "fc")
    with pytest.raises(ValueError, match="labels"):
        ufm.torch.collect(model, [{"x": torch.ones(2, 3, 8, 8)}], "fc")
    with pytest.raises(ValueError, match="one entry per feature vector"):
        ufm.torch.collect(model, [(torch.ones(2, 3, 8, 8), torch.zeros(3, dtype=int))], "fc")
    with pytest.raises(ValueError, match="same samples twice"):
        ufm.torch.collect(model, iter(loader), "fc", nearest_mean=True)

    class Twice(SmallResNet):
        def forward(self, x):
            return super().forward(x) + super().forward(x)

    class Never(SmallResNet):
        def forward(self, x):
            return nn.functional.linear(self.features(x), self.fc.weight)

    for kind, times in ((Twice, 2), (Never, 0)):
        with pytest.raises(ValueError, match=f"was called {times} times"):
            ufm.torch.collect(kind(), loader, "fc")
