"""What is measured of a network while it trains, in float64 from its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ufm.torch.losses import FeaturePenalty
from ufm.torch.networks import Classifier

_CHUNK = 1000
_RCOND = 1e-10


@dataclass(frozen=True)
class Measured:
    """A network's state on its training set.

    Attributes
    ----------
    Z : ndarray of shape (K, K)
        Column k: W times the mean feature of class k.
    W : ndarray of shape (K, d)
    b : ndarray of shape (K,)
    means : ndarray of shape (K, d)
        Mean feature of each class.
    within : ndarray of shape (K,)
        Mean squared distance of a class's features to their mean.
    cross_entropy, objective : float
        Weighted cross-entropy, and that plus the full penalties.
    nc1 : float
        tr(Sigma_W pinv(Sigma_B)) / K, weighted by counts.
    accuracy : float
        Share of training images classified rightly.
    """

    Z: NDArray[np.float64]
    W: NDArray[np.float64]
    b: NDArray[np.float64]
    means: NDArray[np.float64]
    within: NDArray[np.float64]
    cross_entropy: float
    objective: float
    nc1: float
    accuracy: float


@torch.no_grad()
def measure(
    model: Classifier,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    penalty: FeaturePenalty,
    repeats: torch.Tensor,
    class_weights: torch.Tensor | None,
) -> Measured:
    """Measure `model`, in evaluation mode, on N inputs; `repeats` (K,) are images' frequencies."""
    features = all_features(model, inputs)
    weight = model.fc.weight.double()
    bias = model.fc.bias.double()
    num_classes, width = weight.shape
    sizes = torch.bincount(labels, minlength=num_classes).double()
    sums = torch.zeros((num_classes, width), dtype=torch.float64, device=inputs.device)
    cross_entropy = torch.zeros(num_classes, dtype=torch.float64, device=inputs.device)
    squares = torch.zeros_like(cross_entropy)
    correct = torch.zeros((), dtype=torch.int64, device=inputs.device)
    for start in range(0, len(labels), _CHUNK):
        part, target = features[start : start + _CHUNK].double(), labels[start : start + _CHUNK]
        logits = part @ weight.T + bias
        losses = functional.cross_entropy(logits, target, reduction="none")
        sums.index_add_(0, target, part)
        cross_entropy.index_add_(0, target, losses)
        squares.index_add_(0, target, part.square().sum(1))
        correct += (logits.argmax(1) == target).sum()
    means = sums / sizes[:, None]
    total = float((repeats * sizes).sum())
    weighted = repeats if class_weights is None else repeats * class_weights
    loss = float((weighted * cross_entropy).sum()) / total
    objective = (
        loss
        + 0.5 * penalty.lambda_w * float(weight.square().sum())
        + 0.5 * penalty.lambda_h * float((repeats * squares).sum())
        + 0.5 * penalty.lambda_b * float(bias.square().sum())
    )
    within, nc1 = _within(features, labels, means, sizes)
    return Measured(
        Z=(weight @ means.T).cpu().numpy(),
        W=weight.cpu().numpy(),
        b=bias.cpu().numpy().copy(),
        means=means.cpu().numpy(),
        within=within.cpu().numpy(),
        cross_entropy=loss,
        objective=objective,
        nc1=nc1,
        accuracy=int(correct) / len(labels),
    )


def _within(
    features: torch.Tensor, labels: torch.Tensor, means: torch.Tensor, sizes: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Within-class variance of each class, and NC1; without any d x d matrix."""
    if not torch.isfinite(features).all():
        return torch.full_like(sizes, torch.nan), float("nan")
    shares = sizes / sizes.sum()
    centred = means - shares @ means
    _, scales, directions = torch.linalg.svd(shares.sqrt()[:, None] * centred, full_matrices=False)
    # Sigma_B = directions^T diag(scales^2) directions.
    kept = scales.square() > _RCOND * scales[0].square()
    basis = directions[kept] / scales[kept][:, None]
    within = torch.zeros_like(sizes)
    ratio = torch.zeros((), dtype=torch.float64, device=features.device)
    for start in range(0, len(labels), _CHUNK):
        target = labels[start : start + _CHUNK]
        deviation = features[start : start + _CHUNK].double() - means[target]
        within.index_add_(0, target, deviation.square().sum(1))
        ratio += (deviation @ basis.T).square().sum()
    return within / sizes, float(ratio) / float(sizes.sum()) / len(sizes)


@torch.no_grad()
def accuracy_per_class(
    model: Classifier, inputs: torch.Tensor, labels: torch.Tensor
) -> NDArray[np.float64]:
    """Share of each class's inputs that are classified rightly, shape (K,); nan without inputs."""
    num_classes = model.fc.out_features
    right = torch.zeros(num_classes, dtype=torch.float64, device=inputs.device)
    for start in range(0, len(labels), _CHUNK):
        target = labels[start : start + _CHUNK]
        guess = model(inputs[start : start + _CHUNK]).argmax(1)
        right.index_add_(0, target, (guess == target).double())
    sizes = torch.bincount(labels, minlength=num_classes).double()
    found: NDArray[np.float64] = (right / sizes).cpu().numpy()
    return found


@torch.no_grad()
def all_features(model: Classifier, inputs: torch.Tensor) -> torch.Tensor:
    """Last features of all inputs, (N, d) float32."""
    parts = [model.features(part).float() for part in torch.split(inputs, _CHUNK)]
    return torch.cat(parts)
