"""Networks: shapes, sizes, last features of either kind."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from ufm.torch import AnnealedLeakyReLU, build_network  # noqa: E402


def _size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "width"),
    [
        ("mlp", (1, 8, 8), 256),
        ("mlp", (20,), 256),
        ("cnn", (3, 32, 32), 256),
        ("cnn", (1, 28, 28), 256),
        ("resnet18", (3, 32, 32), 512),
        ("vgg11", (1, 32, 32), 4096),
    ],
)
@pytest.mark.parametrize("features", ["linear", "relu"])
def test_features_and_logits(name, shape, width, features):
    torch.manual_seed(0)
    model = build_network(name, shape, 10, features=features).eval()
    inputs = torch.randn(2, *shape)
    with torch.no_grad():
        found = model.features(inputs)
        assert found.shape == (2, width)
        assert model.fc.in_features == width
        assert (found.min().item() < 0) == (features == "linear")
        torch.testing.assert_close(model(inputs), model.fc(found))


def test_parameters_of_the_usual_networks():
    """ResNet18 with a 3 x 3 stem and VGG's convolutions have known sizes."""
    assert _size(build_network("resnet18", (3, 32, 32), 10)) == 11_173_962
    convolutions = {"vgg11": 9_220_480, "vgg13": 9_404_992}
    for name, size in convolutions.items():
        model = build_network(name, (3, 32, 32), 10)
        found = sum(_size(m) for m in model.modules() if isinstance(m, torch.nn.Conv2d))
        assert found == size
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        assert [(m.in_features, m.out_features) for m in linear] == [
            (512, 4096),
            (4096, 4096),
            (4096, 10),
        ]


def test_cnn_has_three_convolutions_of_stride_two():
    model = build_network("cnn", (3, 32, 32), 10)
    found = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.stride) for m in found] == [
        (32, (2, 2)),
        (64, (2, 2)),
        (128, (2, 2)),
    ]


def test_relu_is_the_last_step_before_the_average():
    """A published ResNet averages after the ReLU: features vanish only where all positions do."""
    torch.manual_seed(1)
    model = build_network("resnet18", (3, 16, 16), 4, features="relu").eval()
    inputs = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        maps = model.backbone(inputs)
        expected = maps.clamp(min=0).mean((2, 3))
        torch.testing.assert_close(model.features(inputs), expected)


def test_annealed_slope_ends_as_relu():
    model = build_network("mlp", (6,), 3, features="relu", slope=0.2, slope_until=0.5)
    assert isinstance(model.activation, AnnealedLeakyReLU)
    inputs = torch.randn(8, 6)
    hidden = model.backbone(inputs)
    for progress, slope in ((0.0, 0.2), (0.25, 0.1), (0.5, 0.0), (1.0, 0.0)):
        model.anneal(progress)
        expected = torch.where(hidden > 0, hidden, slope * hidden)
        torch.testing.assert_close(model.features(inputs), expected)


@pytest.mark.parametrize(("name", "own"), [("mlp", 0), ("cnn", 3)])
def test_batch_norm_can_be_left_out_or_put_last(name, own):
    torch.manual_seed(2)
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    for choice, number in (("own", own), ("none", 0), ("last", own + 1)):
        model = build_network(name, (3, 8, 8), 5, width=7, batch_norm=choice)
        assert sum(isinstance(m, kinds) for m in model.modules()) == number
    features = model.train().features(torch.randn(64, 3, 8, 8))
    # Only a batch norm that comes last leaves every feature with mean 0 and variance 1.
    torch.testing.assert_close(features.mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(0, correction=0), torch.ones(7), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlp2", (3,), 2), "name must be one of mlp"),
        (("mlp", (3,), 0), "num_classes must be positive"),
        (("cnn", (3,), 2), "needs images"),
        (("vgg11", (3, 28, 28), 2), "at least 32 x 32"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_network(*arguments)
    with pytest.raises(ValueError, match="features must be one of"):
        build_network("mlp", (3,), 2, features="leaky")
    with pytest.raises(ValueError, match="batch_norm must be one of own, none, last"):
        build_network("mlp", (3,), 2, batch_norm="first")
    with pytest.raises(ValueError, match="batch_norm must be 'own' for resnet18"):
        build_network("resnet18", (3, 8, 8), 2, batch_norm="none")
