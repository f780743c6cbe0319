"""Steps of the optimizers, their schedule, and the full-batch end phase."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from ufm.torch._world import World
from ufm.torch.config import TrainingConfig
from ufm.torch.data.prepare import Tensors
from ufm.torch.losses import FeaturePenalty, PenaltyRamp, centre_bias
from ufm.torch.networks import Classifier

_POLISH_CHUNK = 1500  # rows of one pass: activations stay near the cache


def learning_rate_factor(config: TrainingConfig, progress: float) -> float:
    """The schedule's factor on the learning rate when a part `progress`, 0 to 1, is done."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "steps":
        return config.decay ** sum(progress >= milestone for milestone in config.milestones)
    part = max(0.0, (progress - config.flat) / (1.0 - config.flat))
    return 0.5 * (1.0 + math.cos(math.pi * part))


def make_optimizer(model: Classifier, config: TrainingConfig) -> torch.optim.Optimizer:
    """Three groups of parameters: backbone, W, and b with its own rate."""
    decay = config.weight_decay
    decay_last = decay if config.weight_decay_classifier else 0.0
    rate = config.learning_rate
    groups = [
        {"params": [*model.backbone.parameters()], "weight_decay": decay, "scale": 1.0},
        {"params": [model.fc.weight], "weight_decay": decay_last, "scale": 1.0},
        {"params": [model.fc.bias], "weight_decay": decay_last, "scale": config.bias_rate},
    ]
    # One kernel for all parameters where the device has it.
    fused = model.fc.weight.device.type in ("cpu", "cuda")
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate, fused=fused)
    return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=fused)


class _FeaturesAndLogits(nn.Module):
    """What a step needs, from one call, so that gradients are averaged over processes."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.model.features(inputs).float()
        # The loss is the theory's: its last layer is never rounded.
        with torch.autocast(features.device.type, enabled=False):
            return features, self.model.fc(features)


class Stepper:
    """One optimizer step at a time; nothing in it waits for the device."""

    def __init__(
        self,
        model: Classifier,
        data: Tensors,
        penalty: FeaturePenalty,
        ramp: PenaltyRamp,
        config: TrainingConfig,
        class_weights: torch.Tensor | None,
        world: World,
    ) -> None:
        self._model = model
        self._data = data
        self._penalty = penalty
        self._ramp = ramp
        self._config = config
        self._class_weights = class_weights
        self._world = world
        images = data.train_inputs.ndim == 4
        self._channels_last = images and config.channels_last(world.device)
        self.optimizer = make_optimizer(model, config)
        both: nn.Module = _FeaturesAndLogits(model)
        if world.size > 1:
            both = DistributedDataParallel(both)
        self._both = both

    def set_progress(self, progress: float) -> float:
        """Set learning rates and slope for a part `progress`, 0 to 1, done; return the ramp."""
        factor = learning_rate_factor(self._config, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self._config.learning_rate * factor * group["scale"]
        self._model.anneal(progress)
        return self._ramp(progress)

    def step(self, rows: torch.Tensor, progress: float) -> torch.Tensor:
        """One step on the batch `rows`; returns its loss, still on the device."""
        ramp = self.set_progress(progress)
        world = self._world
        share = len(rows) / world.size
        rows = rows[world.rank :: world.size]
        inputs, labels = self._data.train_inputs[rows], self._data.train_labels[rows]
        if self._channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        mixed = self._config.precision == "bfloat16"
        with torch.autocast(world.device.type, torch.bfloat16, enabled=mixed):
            features, logits = self._both(inputs)
        summed = functional.cross_entropy(
            logits.float(), labels, weight=self._class_weights, reduction="sum"
        )
        # Gradients are averaged over processes: each one's sums count `size` times.
        loss = summed / share + self._penalty(features, self._model.fc, ramp=ramp, batch_size=share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        self.optimizer.step()
        if self._config.centre_bias:
            centre_bias(self._model.fc)
        return loss.detach()


class Polish:
    """Full-batch L-BFGS on the whole loss, batch norm frozen.

    First-order steps crawl along the directions in which the model's classes merge, flat near a
    threshold; a quasi-Newton method does not.
    """

    def __init__(
        self,
        model: Classifier,
        data: Tensors,
        penalty: FeaturePenalty,
        repeats: torch.Tensor,
        class_weights: torch.Tensor | None,
        *,
        centre: bool,
        iterations: int,
    ) -> None:
        self._model = model
        self._data = data
        self._penalty = penalty
        self._weights = repeats if class_weights is None else repeats * class_weights
        self._repeats = repeats
        self._centre = centre
        self.optimizer = torch.optim.LBFGS(
            model.parameters(),
            max_iter=iterations,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_change=0.0,
            tolerance_grad=0.0,
        )

    def run(self) -> float:
        """So many iterations as the constructor was told; returns the last loss."""
        self._model.anneal(1.0)
        loss = self.optimizer.step(self._closure)  # type: ignore[no-untyped-call, unused-ignore]
        return float(cast(torch.Tensor, loss))

    def _closure(self) -> torch.Tensor:
        """The loss on all rows, its gradient gathered piece by piece."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._repeats.device)
        size = self._penalty.num_samples
        classifier = self._model.fc
        for inputs, labels in zip(
            torch.split(self._data.train_inputs, _POLISH_CHUNK),
            torch.split(self._data.train_labels, _POLISH_CHUNK),
            strict=True,
        ):
            features = self._model.features(inputs)
            losses = functional.cross_entropy(classifier(features), labels, reduction="none")
            squares = features.square().sum(1)
            part = (self._weights[labels] * losses).sum() / size
            part = part + 0.5 * self._penalty.lambda_h * (self._repeats[labels] * squares).sum()
            part.backward()  # type: ignore[no-untyped-call, unused-ignore]
            total += part.detach()
        rest = 0.5 * self._penalty.lambda_w * classifier.weight.square().sum()
        rest = rest + 0.5 * self._penalty.lambda_b * classifier.bias.square().sum()
        rest.backward()  # type: ignore[no-untyped-call, unused-ignore]
        if self._centre and classifier.bias.grad is not None:
            # The gradient of the loss on the set 1^T b = 0, where the bias already is.
            classifier.bias.grad -= classifier.bias.grad.mean()
        return total + rest.detach()
