"""Exact minimisation over the bias alone, for a fixed mean prediction matrix."""

from __future__ import annotations

import torch

from ufm.torch._device import dot
from ufm.torch._loss import BlockLoss, Curvature, LossState
from ufm.torch._monitor import Monitor
from ufm.torch._newton import trust_region

_MAX_ITERATIONS = 60


def minimise_bias(
    loss: BlockLoss,
    matrix: torch.Tensor | None,
    bias: torch.Tensor,
    monitor: Monitor,
    relative_accuracy: float = 1e-22,
) -> tuple[torch.Tensor, LossState]:
    """Minimise F(M, bias) + (lambda_b / 2) ||bias||^2 over the scaled bias, in float64.

    Parameters
    ----------
    loss : BlockLoss
        The loss F.
    matrix : Tensor of shape (C, C) or None
        M transposed, left as it is; None for M = 0.
    bias : Tensor of shape (C,)
        Scaled bias to start from; the result where the problem has none.
    monitor : Monitor
        Asked whether to stop.
    relative_accuracy : float
        Predicted relative decrease of a step after which to end.

    Returns
    -------
    bias : Tensor of shape (C,)
        The minimiser.
    state : LossState
        At the minimiser.
    """
    model = _BiasModel(loss, matrix, relative_accuracy)
    if not loss.problem.has_bias:
        model.trial_value(bias)
        return bias, model.trial
    result = trust_region(model, bias, _MAX_ITERATIONS, monitor)
    return result.x, model.current


class _BiasModel:
    inner = torch.float64
    noise = 1e-13
    max_rejected = 60

    trial: LossState
    current: LossState

    def __init__(self, loss: BlockLoss, matrix: torch.Tensor | None, accuracy: float) -> None:
        self._loss = loss
        self._matrix = matrix
        self._accuracy = accuracy
        self._lambda_b = loss.problem.lambda_b
        self._spare: torch.Tensor | None = None
        self._curvature: Curvature
        self._diagonal: torch.Tensor
        self._trial_x: torch.Tensor
        self._x: torch.Tensor

    def trial_value(self, x: torch.Tensor) -> float:
        if self._spare is None:
            self._spare = self._loss.matrix()
        if self._matrix is None:
            self._spare.zero_()
        else:
            self._spare.copy_(self._matrix)
        self.trial = self._loss.evaluate(self._spare, x)
        self._trial_x = x
        if not self._loss.problem.has_bias:
            return self.trial.value
        return self.trial.value + 0.5 * self._lambda_b * dot(x, x)

    def accept_trial(self) -> None:
        self._spare = self.current.slope if hasattr(self, "current") else None
        self.current = self.trial
        self._x = self._trial_x
        self._curvature = self._loss.curvature(self.current, self.inner)

    def gradient(self) -> torch.Tensor:
        return self._loss.bias_gradient(self.current).add_(self._x, alpha=self._lambda_b)

    def hessian_product(self, direction: torch.Tensor, product: torch.Tensor) -> None:
        product.copy_(self._loss.hessian_product(self._curvature, None, direction))
        product.add_(direction, alpha=self._lambda_b)

    def prepare_preconditioner(self) -> None:
        diagonal = self._loss.hessian_diagonal(self._curvature, None)
        diagonal.add_(self._lambda_b + 1e-12 * (diagonal.max() + self._lambda_b) + 1e-300)
        self._diagonal = diagonal

    def precondition(self, residual: torch.Tensor, result: torch.Tensor) -> None:
        torch.div(residual, self._diagonal, out=result)

    def squared_norm(self, x: torch.Tensor) -> float:
        return dot(x.square(), self._diagonal)

    def finished(self, value: float, predicted_decrease: float) -> bool:
        return predicted_decrease <= self._accuracy * value
