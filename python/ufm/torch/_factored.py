"""The factored form M = U V^T with penalty (lambda_z / 2) (||U||^2 + ||V||^2).

With as many columns as rows every local minimum of the factored form is global. In these
coordinates the curvature is close to lambda_z in all directions, however small lambda_z is.

A point is one flat vector: U (C, r), V (C, r) and, where there is one, the scaled bias (C,).
"""

from __future__ import annotations

import math

import torch

from ufm._core import small_problem
from ufm.torch._bias import minimise_bias
from ufm.torch._certificate import Certificate, certify_at_best_bias, primal_value
from ufm.torch._device import dot, row_blocks
from ufm.torch._loss import BlockLoss, Curvature, LossState
from ufm.torch._monitor import Monitor

# Relative differences of objectives that rounding can cause, per precision of the point.
_NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}


def balanced_start(loss: BlockLoss, monitor: Monitor) -> torch.Tensor:
    """Point to start from: the balanced closed form, class by class, and its best bias.

    Returns
    -------
    Tensor of shape (2 C r,) or (2 C r + C,)
        Flat point in float64, r = C.
    """
    problem = loss.problem
    theta = loss.vector(problem.threshold_ratio)
    num_classes = loss.multiplicity.sum()
    # Each class gets the size it would have if all classes had its count. Classes that would be
    # zero start small but not at zero, which is a stationary point of the factored form.
    size = torch.log1p(num_classes * (1.0 / theta - 1.0).clamp(min=0.0)).clamp(min=0.01)
    root = (size * loss.count.sqrt()).sqrt()
    direction = _flat_direction(loss)
    right = torch.diag(root)
    left = right - torch.outer(direction, direction * root)
    parts = [left.flatten(), right.flatten()]
    if problem.has_bias:
        matrix = (left * root).T.contiguous()
        parts.append(minimise_bias(loss, matrix, loss.zeros(), monitor, 1e-3)[0])
    return torch.cat(parts)


class Factors:
    """Views of a flat point, and the matrix it stands for."""

    def __init__(self, loss: BlockLoss, x: torch.Tensor) -> None:
        self._loss = loss
        size = loss.problem.size
        biases = size if loss.problem.has_bias else 0
        self.flat = x
        self.pair = x[: x.numel() - biases]
        self.left, self.right = self.pair.view(2, size, -1).unbind(0)
        self.bias = x[x.numel() - biases :] if biases else loss.zeros(x.dtype)

    def matrix(self) -> torch.Tensor:
        """M transposed, shape (C, C), in float64."""
        result = self._loss.matrix()
        left = self.left.to(torch.float64)
        for rows in row_blocks(left.shape[0], left.shape[0], left.device):
            torch.mm(self.right[rows].to(torch.float64), left.T, out=result[rows])
        return result

    def nuclear_norm(self) -> float:
        """Upper bound of ||M||_*: (||U||^2 + ||V||^2) / 2."""
        pair = self.pair.to(torch.float64)
        return 0.5 * dot(pair, pair)


def _flat_direction(loss: BlockLoss) -> torch.Tensor:
    """Unit vector (C,) along which the columns of M are zero at the optimum."""
    return (loss.multiplicity / loss.multiplicity.sum()).sqrt()


def _largest_coupling(loss: BlockLoss) -> torch.Tensor:
    """Bound (C,) of |G_ii| just below lambda_z, where the 2 x 2 blocks would become singular.

    It is 1 to 10 percent below, the less the closer the class is to its threshold, where soft
    directions are the softest.
    """
    distance = (loss.vector(loss.problem.threshold_ratio) - 1.0).abs()
    return loss.problem.lambda_z * (1.0 - distance.clamp(0.01, 0.1))


class FactoredModel:
    """The factored form as the Newton method sees it.

    Parameters
    ----------
    loss : BlockLoss
        The loss.
    outer, inner : torch.dtype
        Precision of the point, value and gradient, and of the Newton equations.
    tol : float
        Relative duality gap to reach.
    monitor : Monitor
        Receives progress.
    iterations : int
        Iterations made before, for the progress reports.
    """

    def __init__(
        self,
        loss: BlockLoss,
        outer: torch.dtype,
        inner: torch.dtype,
        *,
        tol: float,
        monitor: Monitor,
        iterations: int = 0,
    ) -> None:
        self.inner = inner
        self.noise = _NOISE[outer]
        self.max_rejected = 60 if outer is torch.float64 else 8
        self.iterations = iterations
        self.gap = math.inf
        self.certificate: Certificate | None = None
        self.current: Factors | None = None
        self._loss = loss
        self._outer = outer
        self._tol = tol
        self._monitor = monitor
        self._lambda_z = loss.problem.lambda_z
        self._lambda_b = loss.problem.lambda_b
        self._has_bias = loss.problem.has_bias
        self._flat_direction = _flat_direction(loss)
        self._largest_coupling = _largest_coupling(loss)
        self._refinements = 0
        self._trial: Factors
        self._trial_loss: LossState
        self._loss_state: LossState
        self._spare: torch.Tensor | None = None  # (C, C): next trial's slope
        self._work: torch.Tensor | None = None  # (C, C): Hessian products, in inner precision
        self._inner_factors: Factors
        self._curvature: Curvature
        self._blocks: torch.Tensor  # (2, C, r)
        self._coupling: torch.Tensor  # (C, 1)
        self._bias_diagonal: torch.Tensor

    def centre(self, x: torch.Tensor) -> torch.Tensor:
        """Move the columns of U in `x` off the flat direction, in place; return `x`.

        M never moves in that direction: no gradient or Hessian product of the loss leads back.
        """
        self._centre(Factors(self._loss, x).left)
        return x

    def trial_value(self, x: torch.Tensor) -> float:
        """Objective with the factors' penalty in place of the nuclear norm."""
        trial = Factors(self._loss, x)
        if self._spare is None:
            self._spare = self._loss.matrix(self._outer)
        torch.mm(trial.right, trial.left.T, out=self._spare)
        self._trial_loss = self._loss.evaluate(self._spare, trial.bias)
        self._trial = trial
        bias = trial.bias.to(torch.float64)
        norm = 0.5 * dot(trial.pair, trial.pair)
        return primal_value(self._loss.problem, self._trial_loss, bias, norm)

    def accept_trial(self) -> None:
        """Make the trial the current point."""
        self._spare = None if self.current is None else self._loss_state.slope
        self.current = self._trial
        self._loss_state = self._trial_loss
        self._inner_factors = Factors(self._loss, self.current.flat.to(self.inner))
        self._curvature = self._loss.curvature(self._loss_state, self.inner)

    def gradient(self) -> torch.Tensor:
        """Gradient at the current point."""
        assert self.current is not None
        now = self.current
        slope = self._loss_state.slope
        result = torch.empty_like(now.flat)
        out = Factors(self._loss, result)
        torch.addmm(now.left, slope.T, now.right, beta=self._lambda_z, out=out.left)
        torch.addmm(now.right, slope, now.left, beta=self._lambda_z, out=out.right)
        if self._has_bias:
            out.bias.copy_(self._loss.bias_gradient(self._loss_state))
            out.bias.add_(now.bias, alpha=self._lambda_b)
        return result

    def hessian_product(self, direction: torch.Tensor, product: torch.Tensor) -> None:
        """Hessian times a direction, by six matrix products."""
        p = Factors(self._loss, direction)
        out = Factors(self._loss, product)
        now, slope, work = self._inner_factors, self._curvature.slope, self._workspace()
        torch.mm(p.right, now.left.T, out=work)
        work.addmm_(now.right, p.left.T)
        bias = self._loss.hessian_product(self._curvature, work, p.bias)
        torch.addmm(p.left, work.T, now.right, beta=self._lambda_z, out=out.left)
        out.left.addmm_(slope.T, p.right)
        torch.addmm(p.right, work, now.left, beta=self._lambda_z, out=out.right)
        out.right.addmm_(slope, p.left)
        if self._has_bias:
            out.bias.copy_(bias).add_(p.bias, alpha=self._lambda_b)

    def prepare_preconditioner(self) -> None:
        """Entries (U_il, V_il) in 2 x 2 blocks, coupled by G_ii.

        Where class i is active, G_ii is close to -lambda_z, so that equal changes of both entries
        meet curvature from the loss alone. A diagonal preconditioner misses that and needs many
        times the products when a threshold lies inside the counts. The flat direction is left out.
        """
        work = self._workspace()
        bias = self._loss.hessian_diagonal(self._curvature, work)
        now = self._inner_factors
        self._blocks = torch.empty((2, *now.left.shape), dtype=self.inner, device=work.device)
        torch.mm(work.T, now.right.square(), out=self._blocks[0])
        torch.mm(work, now.left.square(), out=self._blocks[1])
        self._blocks.add_(self._lambda_z)
        largest = self._largest_coupling.to(self.inner)
        coupling = self._curvature.slope.diagonal() - self._lambda_z * self._flat.square()
        self._coupling = coupling.clamp(-largest, largest)[:, None]
        if self._has_bias:
            bias.add_(self._lambda_b + 1e-12 * bias.max() + torch.finfo(self.inner).tiny)
            self._bias_diagonal = bias

    def precondition(self, residual: torch.Tensor, result: torch.Tensor) -> None:
        """Solve with the 2 x 2 blocks."""
        r, y = Factors(self._loss, residual), Factors(self._loss, result)
        along = self._flat @ r.left
        for rows in row_blocks(*self._shape, residual.device):
            left, right = self._blocks[0, rows], self._blocks[1, rows]
            coupling = self._coupling[rows]
            determinant = (left * right).sub_(coupling.square())
            r_left = r.left[rows] - torch.outer(self._flat[rows], along)
            torch.mul(right, r_left, out=y.left[rows])
            y.left[rows].addcmul_(r.right[rows], coupling, value=-1.0).div_(determinant)
            torch.mul(left, r.right[rows], out=y.right[rows])
            y.right[rows].addcmul_(r_left, coupling, value=-1.0).div_(determinant)
        self._centre(y.left)
        if self._has_bias:
            torch.div(r.bias, self._bias_diagonal, out=y.bias)

    def squared_norm(self, x: torch.Tensor) -> float:
        """x^T P x."""
        point = Factors(self._loss, x)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for rows in row_blocks(*self._shape, x.device):
            left, right = point.left[rows], point.right[rows]
            both = 2.0 * left * right * self._coupling[rows]
            both.addcmul_(self._blocks[0, rows], left.square())
            both.addcmul_(self._blocks[1, rows], right.square())
            total += both.sum(dtype=torch.float64)
        if self._has_bias:
            total += (point.bias.square() * self._bias_diagonal).sum(dtype=torch.float64)
        return float(total.item())

    def finished(self, value: float, predicted_decrease: float) -> bool:
        """Certify where the steps became small, and end where the gap is."""
        self.iterations += 1
        single = self._outer is torch.float32
        small_step = max(10.0 * self._tol, self.noise if single else 0.0)
        if predicted_decrease > small_step * abs(value):
            self._monitor.report(self.iterations, value, math.nan)
            return False
        self.certify_current()
        self._monitor.report(self.iterations, value, self.gap)
        if single:  # what is left to do needs float64
            return True
        if self.gap > self._tol:
            return False
        # Small problems go on for a few nearly free iterations, to the limits of precision.
        self._refinements += 1
        small = self._loss.problem.size <= small_problem
        return not small or self.gap <= 1e-12 or self._refinements > 3

    def certify_current(self) -> None:
        """Compute the gap of the current point, in float64."""
        assert self.current is not None
        self._drop_workspace()
        point = self.current
        bias = point.bias.to(torch.float64)
        self.certificate = certify_at_best_bias(
            self._loss, point.matrix(), bias, point.nuclear_norm(), self._tol, self._monitor
        )
        self.gap = self.certificate.relative_gap

    def escape(self) -> torch.Tensor:
        """Move along the strongest direction that the dual constraint says is missing.

        It goes into the weakest column; this leaves a saddle point where Newton steps cannot.
        """
        assert self.current is not None and self.certificate is not None
        flat = self.current.flat.clone()
        point = Factors(self._loss, flat)
        strengths = point.left.norm(dim=0) * point.right.norm(dim=0)
        weakest = int(strengths.argmin().item())
        push = 1e-3 * math.sqrt(max(float(strengths.max().item()), 1.0))
        between = self.certificate.between
        point.left[:, weakest] += push * between.left
        point.right[:, weakest] -= push * between.right
        return flat

    def held_bytes(self) -> float:
        """Bytes of the device's memory that go free with this model."""
        matrices = [self._spare, self._work, getattr(self, "_blocks", None)]
        if self.current is not None:
            matrices.append(self._loss_state.slope)
            if self.inner is not self._outer:
                matrices += [self._inner_factors.flat, self._curvature.slope]
        held = [m for m in matrices if m is not None]
        return float(sum(m.numel() * m.itemsize for m in held))

    @property
    def _flat(self) -> torch.Tensor:
        """The flat direction (C,) in inner precision."""
        return self._flat_direction.to(self.inner)

    def _centre(self, left: torch.Tensor) -> None:
        direction = self._flat_direction.to(left.dtype)
        left.addr_(direction, direction @ left, alpha=-1.0)

    @property
    def _shape(self) -> tuple[int, int]:
        size, rank = self._inner_factors.left.shape
        return size, rank

    def _workspace(self) -> torch.Tensor:
        """A (C, C) matrix in inner precision; the next trial's where that has the same."""
        if self.inner is self._outer:
            if self._spare is None:
                self._spare = self._loss.matrix(self._outer)
            return self._spare
        if self._work is None:
            self._work = self._loss.matrix(self.inner)
        return self._work

    def _drop_workspace(self) -> None:
        self._spare = self._work = None
        if hasattr(self, "_blocks"):
            del self._blocks
