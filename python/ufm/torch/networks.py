"""Networks whose last layer is the linear classifier ``fc``: :func:`build_network`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ufm.torch.config import BATCH_NORMS, FEATURES, NETWORKS
from ufm.torch.losses import AnnealedLeakyReLU

_VGG: dict[str, tuple[int | str, ...]] = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg13": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
}


class Classifier(nn.Module):
    """A backbone, the activation of its last features, and the linear classifier.

    Parameters
    ----------
    backbone : torch.nn.Module
        From inputs to pre-activations of shape (B, d), or maps of them (B, d, H, W).
    activation : torch.nn.Module
        What makes last features of these; ``torch.nn.Identity`` for linear features.
    fc : torch.nn.Linear
        The classifier. Maps are averaged over their positions before it.
    """

    def __init__(self, backbone: nn.Module, activation: nn.Module, fc: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.activation = activation
        self.fc = fc

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Last-layer features (B, d) of inputs (B, ...)."""
        found = cast(torch.Tensor, self.activation(self.backbone(inputs)))
        return found.mean((2, 3)) if found.ndim == 4 else found

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of inputs (B, ...)."""
        return cast(torch.Tensor, self.fc(self.features(inputs)))

    def anneal(self, progress: float) -> None:
        """Tell an annealed activation how far the training is, 0 to 1."""
        if isinstance(self.activation, AnnealedLeakyReLU):
            self.activation.anneal(progress)


def build_network(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    features: str = "linear",
    hidden: Sequence[int] = (512,),
    width: int | None = None,
    slope: float = 0.0,
    slope_until: float = 0.6,
    batch_norm: str = "own",
) -> Classifier:
    """Build a network with random initial weights.

    Parameters
    ----------
    name : str
        ``"mlp"``, ``"cnn"`` (three 3 x 3 convolutions of stride 2, 32-64-128, with batch norm, and
        a linear layer), ``"resnet18"`` (3 x 3 stem for small images), ``"vgg11"``, ``"vgg13"``
        (batch norm; 512-4096-4096 behind the convolutions, for images of 32 x 32).
    input_shape : sequence of int
        Shape of one input: (C, H, W), or (d,) for the MLP.
    num_classes : int
        K.
    features : str
        ``"linear"``: last features free to be negative, as in the model; ``"relu"``: after a ReLU,
        as in nearly every network.
    hidden : sequence of int
        Widths of the MLP's hidden layers.
    width : int, optional
        Number of last features: 256 (MLP and CNN), 512 (ResNet18), 4096 (VGG) by default.
    slope, slope_until : float
        Slope that the last ReLU has on its negative side at first, and the part of training after
        which it is zero (:class:`AnnealedLeakyReLU`). 0 for a plain ReLU.
    batch_norm : str
        ``"own"``: as the network's description says. For the MLP and the CNN also ``"none"``, and
        ``"last"``: one more directly before the last activation, where VGG has it by itself.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        If a name is unknown, a size is not positive, or the inputs do not suit the network.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}")
    sizes = {
        "input_shape": input_shape,
        "num_classes": (num_classes,),
        "hidden": hidden,
        "width": () if width is None else (width,),
    }
    for key, values in sizes.items():
        if any(value < 1 for value in values):
            raise ValueError(f"{key} must be positive, got {', '.join(map(str, values))}")
    if name != "mlp" and len(input_shape) != 3:
        raise ValueError(f"{name} needs images (C, H, W), got inputs of shape {tuple(input_shape)}")
    if batch_norm not in BATCH_NORMS:
        raise ValueError(f"batch_norm must be one of {', '.join(BATCH_NORMS)}, got {batch_norm!r}")
    if batch_norm != "own" and name not in ("mlp", "cnn"):
        raise ValueError(f"batch_norm must be 'own' for {name}, got {batch_norm!r}")
    activation = _activation(features, slope, slope_until)
    if name == "mlp":
        size = width or 256
        backbone: nn.Module = _mlp(math.prod(input_shape), hidden, size)
    elif name == "cnn":
        size = width or 256
        backbone = _cnn(input_shape, size, batch_norm != "none")
    elif name == "resnet18":
        size = width or 512
        backbone = _resnet18(input_shape[0], size)
    else:
        size = width or 4096
        backbone = _vgg(name, input_shape, size)
    if batch_norm == "last":
        backbone = nn.Sequential(backbone, nn.BatchNorm1d(size))
    return Classifier(backbone, activation, nn.Linear(size, num_classes))


def _activation(features: str, slope: float, until: float) -> nn.Module:
    if features == "linear":
        return nn.Identity()
    if features == "relu":
        return AnnealedLeakyReLU(slope, until) if slope > 0 else nn.ReLU()
    raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {features!r}")


def _mlp(inputs: int, hidden: Sequence[int], width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU()]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, width))


def _cnn(input_shape: Sequence[int], width: int, batch_norm: bool) -> nn.Sequential:
    channels, height, breadth = input_shape
    layers: list[nn.Module] = []
    for size in (32, 64, 128):
        layers += [nn.Conv2d(channels, size, 3, stride=2, padding=1, bias=not batch_norm)]
        layers += [nn.BatchNorm2d(size), nn.ReLU()] if batch_norm else [nn.ReLU()]
        channels, height, breadth = size, (height + 1) // 2, (breadth + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * breadth, width))


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, last: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        # The last block leaves its activation to the classifier's features.
        self.end: nn.Module = nn.Identity() if last else nn.ReLU()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.end(self.body(inputs) + self.shortcut(inputs)))


def _resnet18(channels: int, width: int) -> nn.Sequential:
    """ResNet18 for small images: a 3 x 3 stem without pooling, up to the last activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 64, 3, 1, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    ]
    plan = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    for inputs, outputs, stride in plan:
        layers += [_Block(inputs, outputs, stride), _Block(outputs, outputs, 1, outputs == 512)]
    if width != 512:
        layers += [nn.ReLU(), nn.Conv2d(512, width, 1)]
    return nn.Sequential(*layers)


def _vgg(name: str, input_shape: Sequence[int], width: int) -> nn.Sequential:
    channels, height, breadth = input_shape
    if height < 32 or breadth < 32:
        raise ValueError(f"{name} needs images of at least 32 x 32, got {height} x {breadth}")
    layers: list[nn.Module] = []
    for size in _VGG[name]:
        if isinstance(size, str):
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
        else:
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.BatchNorm2d(size), nn.ReLU()]
            channels = size
    layers += [nn.Flatten(), nn.Linear(channels * height * breadth, 4096)]
    layers += [nn.BatchNorm1d(4096), nn.ReLU(), nn.Linear(4096, width), nn.BatchNorm1d(width)]
    return nn.Sequential(*layers)
