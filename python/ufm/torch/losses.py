"""The loss whose minimisers the theory describes, in pieces for anyone's training loop.

A network's last layer follows the unconstrained feature model when its features are penalised:

    (1/N) sum_i CE(W h_i + b, y_i)
        + lambda_w/2 |W|^2 + lambda_h/2 sum_i |h_i|^2 + lambda_b/2 |b|^2,

the sum over all N samples, lambda_z = sqrt(lambda_w lambda_h) (Hong and Ling, arXiv 2309.09725).
On a batch the sum is estimated by N/|batch| times the batch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional

from ufm.problem import check_positive, check_real
from ufm.torch._linear import linear_parameters


@dataclass(frozen=True)
class FeaturePenalty:
    """Weights of the penalties on classifier, features and bias.

    Attributes
    ----------
    lambda_w, lambda_h, lambda_b : float
        Weights of ``|W|^2/2``, of ``|h_i|^2/2`` of each sample, and of ``|b|^2/2``; at least 0.
    num_samples : float
        N, the samples that an epoch visits: those of the training set, with repetitions where
        classes are oversampled.

    Examples
    --------
    >>> from ufm.torch import FeaturePenalty
    >>> penalty = FeaturePenalty.from_lambda_z(0.0027, lambda_b=0.02, num_samples=3000)
    >>> round(penalty.lambda_z, 6)
    0.0027
    """

    lambda_w: float
    lambda_h: float
    lambda_b: float
    num_samples: float

    def __post_init__(self) -> None:
        """Refuse negative weights and an empty training set."""
        for name in ("lambda_w", "lambda_h", "lambda_b"):
            value = check_real(name, getattr(self, name))
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {value}")
        check_positive("num_samples", self.num_samples)

    @classmethod
    def from_lambda_z(
        cls, lambda_z: float, lambda_b: float, num_samples: float, *, split: float = 1.0
    ) -> FeaturePenalty:
        """Divide lambda_z into ``lambda_w`` and ``lambda_h``.

        The optimum's mean predictions depend on lambda_z alone; whether training finds them also
        depends on the split. ``lambda_w = lambda_z sqrt(N)/split``,
        ``lambda_h = split lambda_z/sqrt(N)``: with ``split=1`` the total penalties on W and on the
        features of an average sample weigh alike.

        Parameters
        ----------
        lambda_z : float
            sqrt(lambda_w lambda_h); positive.
        lambda_b : float
            Weight of ``|b|^2/2``.
        num_samples : float
            N.
        split : float
            Positive; larger values favour a large classifier and small features.
        """
        lambda_z = check_positive("lambda_z", lambda_z)
        split = check_positive("split", split)
        root = math.sqrt(check_positive("num_samples", num_samples))
        return cls(lambda_z * root / split, lambda_z * split / root, lambda_b, num_samples)

    @classmethod
    def from_published(
        cls, reg_w: float, reg_h: float, reg_b: float, num_samples: float
    ) -> FeaturePenalty:
        """Take the weights of the paper's published code, whose loss has no factors 1/2.

        ``reg_w |W|^2 + reg_h sum_i |h_i|^2 + reg_b |b|^2``, so every lambda is twice a weight.
        """
        return cls(2 * reg_w, 2 * reg_h, 2 * reg_b, num_samples)

    def plus_weight_decay(self, weight_decay: float) -> FeaturePenalty:
        """The penalty that SGD's ``weight_decay`` on W and b adds up to: lambda + weight_decay."""
        return FeaturePenalty(
            self.lambda_w + weight_decay,
            self.lambda_h,
            self.lambda_b + weight_decay,
            self.num_samples,
        )

    @property
    def lambda_z(self) -> float:
        """sqrt(lambda_w lambda_h), the weight of the nuclear norm in the convex form."""
        return math.sqrt(self.lambda_w * self.lambda_h)

    def __call__(
        self,
        features: torch.Tensor,
        classifier: torch.nn.Linear,
        *,
        ramp: float = 1.0,
        batch_size: float | None = None,
    ) -> torch.Tensor:
        """The penalties of a batch, to be added to its mean cross-entropy.

        Parameters
        ----------
        features : tensor of shape (B, d)
            What the classifier receives.
        classifier : torch.nn.Linear
            The last layer, of K outputs.
        ramp : float
            Factor on the penalties of W and of the features, such as :class:`PenaltyRamp` gives.
        batch_size : float, optional
            Size of the whole batch where `features` are only one process's share of it; B else.

        Returns
        -------
        tensor of shape ()
        """
        scale = self.num_samples / (batch_size or len(features))
        total = (0.5 * ramp * self.lambda_w) * classifier.weight.square().sum()
        total = total + (0.5 * ramp * scale * self.lambda_h) * features.float().square().sum()
        if classifier.bias is not None:
            total = total + (0.5 * self.lambda_b) * classifier.bias.square().sum()
        return total


def ufm_loss(
    features: torch.Tensor,
    labels: torch.Tensor,
    classifier: torch.nn.Linear,
    penalty: FeaturePenalty,
    *,
    ramp: float = 1.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Penalised cross-entropy of a batch; on the whole training set, the model's objective.

    Parameters
    ----------
    features : tensor of shape (B, d)
        Last-layer features of the batch.
    labels : tensor of shape (B,), int64
        Classes.
    classifier : torch.nn.Linear
        The last layer.
    penalty : FeaturePenalty
        Weights, and N.
    ramp : float
        Factor on the penalties of W and of the features.
    class_weights : tensor of shape (K,), optional
        Factors on the cross-entropy of each class, w_k. They are not normalised: the theory's loss
        weight of class k is ``w_k n_k/N``.

    Returns
    -------
    tensor of shape ()

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape.

    Examples
    --------
    >>> import torch
    >>> from ufm.torch import FeaturePenalty, ufm_loss
    >>> classifier = torch.nn.Linear(16, 3)
    >>> penalty = FeaturePenalty.from_lambda_z(0.01, lambda_b=0.02, num_samples=60)
    >>> ufm_loss(torch.randn(60, 16), torch.arange(60) % 3, classifier, penalty).shape
    torch.Size([])
    """
    num_classes, dim = linear_parameters(classifier)[0].shape
    if not isinstance(penalty, FeaturePenalty):
        raise TypeError(f"penalty must be a FeaturePenalty, got {penalty!r:.80}")
    number = next(iter(getattr(features, "shape", ())), 0)
    shapes: list[tuple[str, Any, tuple[int, ...]]] = [
        ("features", features, (number, dim)),
        ("labels", labels, (number,)),
    ]
    if class_weights is not None:
        shapes.append(("class_weights", class_weights, (num_classes,)))
    for name, tensor, shape in shapes:
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {tensor!r:.80}")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    logits = classifier(features).float()
    summed = functional.cross_entropy(logits, labels, weight=class_weights, reduction="sum")
    return summed / len(labels) + penalty(features, classifier, ramp=ramp)


@dataclass(frozen=True)
class PenaltyRamp:
    """A factor for the penalties that grows to one in the course of training.

    Penalties at full strength from the first step drive the features of rare classes to zero
    before the network has learned to tell them apart; after a ReLU they stay there.

    Attributes
    ----------
    start : float
        Factor at the beginning, at least 0.
    until : float
        Part of the training, 0 to 1, after which the factor is one. 0 for no ramp.
    shape : str
        ``"linear"``, or ``"step"``: `start` up to `until`, then one.

    Examples
    --------
    >>> from ufm.torch import PenaltyRamp
    >>> ramp = PenaltyRamp(until=0.5)
    >>> ramp(0.0), ramp(0.25), ramp(0.8)
    (0.0, 0.5, 1.0)
    """

    start: float = 0.0
    until: float = 0.5
    shape: str = "linear"

    def __post_init__(self) -> None:
        """Refuse factors and fractions out of range."""
        if not (0 <= self.start < math.inf):
            raise ValueError(f"start must be at least 0, got {self.start}")
        _check_fraction("until", self.until)
        if self.shape not in ("linear", "step"):
            raise ValueError(f"shape must be 'linear' or 'step', got {self.shape!r}")

    def __call__(self, progress: float) -> float:
        """The factor when a part `progress` of the training, 0 to 1, is done."""
        if progress >= self.until:
            return 1.0
        if self.shape == "step":
            return self.start
        return self.start + (1.0 - self.start) * progress / self.until


class AnnealedLeakyReLU(torch.nn.Module):
    """A leaky ReLU whose slope shrinks linearly to zero: in the end a plain ReLU.

    A unit of a plain ReLU that is zero on every sample of a class gets no gradient from it, so
    that classes, once dead, stay dead. While the slope is positive they recover.

    Parameters
    ----------
    slope : float
        Slope on the negative side at the beginning, 0 to 1.
    until : float
        Part of the training after which the slope is zero.

    Examples
    --------
    >>> from ufm.torch import AnnealedLeakyReLU
    >>> activation = AnnealedLeakyReLU(0.2, until=0.6)
    >>> activation.anneal(progress=0.3)
    >>> round(activation.slope, 6)
    0.1
    """

    def __init__(self, slope: float = 0.2, until: float = 0.6) -> None:
        super().__init__()
        _check_fraction("slope", slope)
        _check_fraction("until", until)
        self.initial_slope = slope
        self.until = until
        self.slope = slope if until > 0 else 0.0

    def anneal(self, progress: float) -> None:
        """Set the slope for a part `progress` of the training, 0 to 1, done."""
        left = 1.0 - progress / self.until if self.until > 0 else 0.0
        self.slope = self.initial_slope * max(0.0, left)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The activation of `inputs`, of any shape."""
        if self.slope == 0.0:
            return functional.relu(inputs)
        return functional.leaky_relu(inputs, self.slope)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"slope={self.slope:.4g}, initial_slope={self.initial_slope}, until={self.until}"


@torch.no_grad()
def centre_bias(classifier: torch.nn.Linear) -> None:
    """Subtract the mean of the bias, in place: 1^T b = 0 as at the optimum.

    Adding a constant to all logits changes no probability, so only the weak lambda_b holds the
    mean of the bias at zero, and optimisers with momentum let it drift.

    Examples
    --------
    >>> import torch
    >>> from ufm.torch import centre_bias
    >>> layer = torch.nn.Linear(4, 3)
    >>> centre_bias(layer)
    >>> abs(layer.bias.sum().item()) < 1e-6
    True
    """
    linear_parameters(classifier)
    if classifier.bias is not None:
        bias = cast(torch.Tensor, classifier.bias)
        bias.sub_(bias.mean())


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= check_real(name, value) <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
