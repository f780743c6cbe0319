"""What is measured of a network while it trains, in float64 from its features."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ufm.metrics import (
    ClassStatistics,
    MetricWarning,
    class_statistics,
    nc1,
)
from ufm.torch.losses import FeaturePenalty
from ufm.torch.networks import Classifier

_CHUNK = 1000


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
        tr(Sigma_W pinv(Sigma_B)) / K, weighted by counts; infinite where all class means coincide.
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
    num_classes = len(bias)
    cross_entropy = torch.zeros(num_classes, dtype=torch.float64, device=inputs.device)
    squares = torch.zeros_like(cross_entropy)
    correct = torch.zeros((), dtype=torch.int64, device=inputs.device)
    for start in range(0, len(labels), _CHUNK):
        part, target = features[start : start + _CHUNK].double(), labels[start : start + _CHUNK]
        logits = part @ weight.T + bias
        losses = functional.cross_entropy(logits, target, reduction="none")
        cross_entropy.index_add_(0, target, losses)
        squares.index_add_(0, target, part.square().sum(1))
        correct += (logits.argmax(1) == target).sum()
    statistics, collapse = _collapse(features, labels, num_classes)
    total = float((repeats * statistics.counts).sum())
    weighted = repeats if class_weights is None else repeats * class_weights
    loss = float((weighted * cross_entropy).sum()) / total
    objective = (
        loss
        + 0.5 * penalty.lambda_w * float(weight.square().sum())
        + 0.5 * penalty.lambda_h * float((repeats * squares).sum())
        + 0.5 * penalty.lambda_b * float(bias.square().sum())
    )
    return Measured(
        Z=(weight @ statistics.means.T).cpu().numpy(),
        W=weight.cpu().numpy(),
        b=bias.cpu().numpy().copy(),
        means=statistics.means.cpu().numpy(),
        within=statistics.variances.cpu().numpy(),
        cross_entropy=loss,
        objective=objective,
        nc1=collapse,
        accuracy=int(correct) / len(labels),
    )


def _collapse(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> tuple[ClassStatistics, float]:
    """Class means and within-class variances, and NC1 without any d x d matrix."""
    if not torch.isfinite(features).all():
        unknown = torch.full_like(features[:num_classes, 0], torch.nan, dtype=torch.float64)
        sizes = torch.bincount(labels, minlength=num_classes).double()
        means = unknown[:, None].expand(-1, features.shape[1])
        return ClassStatistics(sizes, means, unknown, None), float("nan")
    found = class_statistics(features, labels, num_classes, covariance=False)
    # pinv(Sigma_B) sees the span of the centred class means only, of dimension below K.
    basis = torch.linalg.qr((found.means - found.mean).T).Q
    inside = torch.cat([part.double() @ basis for part in torch.split(features, _CHUNK)])
    projected = class_statistics(inside, labels, num_classes)
    with warnings.catch_warnings():
        # A run's rows have no room for remarks on the rank; NC1 is infinite where it is zero.
        warnings.simplefilter("ignore", MetricWarning)
        value = nc1(projected.means, projected.covariance, projected.counts)
    return found, float(value)


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
