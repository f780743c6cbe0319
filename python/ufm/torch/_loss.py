"""Cross-entropy of a cluster-structured mean prediction matrix, amplitudes eliminated exactly.

In cluster form the unknowns are M (C, C), the scaled bias bt_j = sqrt(k_j) b_j and one amplitude
alpha_i >= 0 per cluster. The logit of a class of cluster j in a column of cluster i != j is

    L_ji = M_ji / sqrt(k_j k_i n_i) + b_j,

and inside the own cluster, with d_i = alpha_i / sqrt(n_i), L_ii - d_i / k_i (another class) and
L_ii - d_i / k_i + d_i (the class itself). Given M and b, d_i solves a monotone scalar equation, so
that F(M, b) = loss + lambda_z sum_i (k_i - 1) alpha_i is smooth and convex in M and b alone.

Every matrix here is held **transposed**, one row per column of M, so that the softmax runs along
contiguous memory. Matrices may be float32; vectors of length C of a `LossState` are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ufm.torch._device import row_blocks
from ufm.torch._problem import ClusterProblem

# Squares and inverses of what lies between this and its inverse stay within float32.
_FLOAT32_LOW = 1e-17
_NEVER = -1e30  # a logit whose exponential is zero, finite so that 0 * _NEVER is 0


@dataclass(eq=False)
class LossState:
    """Everything a gradient, a Hessian product or a certificate needs about one point.

    Wrong classes' probabilities are kept as such, never as 1 - p, so that they stay accurate when
    they are tiny.

    Attributes
    ----------
    slope : Tensor of shape (C, C)
        Gradient of F in M, transposed; off the diagonal a positive multiple of the probability.
    rest, own_other, p_own : Tensor of shape (C,)
        Probability of all other clusters, of the other classes of the own cluster, of the class.
    log_own : Tensor of shape (C,)
        -log p_own.
    mean_log : Tensor of shape (C,)
        Sum over wrong classes of p log(p / p_own).
    spread : Tensor of shape (C,)
        d_i >= 0.
    value, amplitude_norm : float
        F(M, b), and sum_i (k_i - 1) alpha_i.
    """

    slope: torch.Tensor
    rest: torch.Tensor
    own_other: torch.Tensor
    p_own: torch.Tensor
    log_own: torch.Tensor
    mean_log: torch.Tensor
    spread: torch.Tensor
    value: float
    amplitude_norm: float


@dataclass(eq=False)
class Curvature:
    """What Hessian products need of a `LossState`, in the precision they are wanted in."""

    slope: torch.Tensor
    rest: torch.Tensor
    shift_rate: torch.Tensor


@dataclass(eq=False)
class _Scales:
    """Scaling vectors of shape (C,) in one precision."""

    multiplicity: torch.Tensor
    row: torch.Tensor  # 1 / sqrt(k_j)
    column: torch.Tensor  # 1 / sqrt(k_i n_i)
    weight: torch.Tensor  # k_i pi_i times column: what a slope is multiplied by
    row_inverse: torch.Tensor
    column_inverse: torch.Tensor
    weight_inverse: torch.Tensor


def solve_spread(
    log_others: torch.Tensor, multiplicity: torch.Tensor, theta: torch.Tensor
) -> torch.Tensor:
    """Spread d >= 0 that makes the amplitude optimal, for each cluster.

    Parameters
    ----------
    log_others : Tensor of shape (A,)
        log sum_{j != i} k_j exp(L_ji - L_ii).
    multiplicity, theta : Tensor of shape (A,)
        k > 1 and the threshold ratio in (0, 1).

    Returns
    -------
    Tensor of shape (A,)

    Notes
    -----
    Solves d = log1p((1 - theta) (exp(log_others + d / k) + k) / theta). The difference of the two
    sides is increasing and concave with slope at least 1 - 1/k, so that Newton's method from the
    left converges monotonically (derived).
    """
    gain = (1.0 - theta) / theta
    constant = torch.log1p(gain * multiplicity)
    log_gain = gain.log() + log_others - constant
    d = constant.clamp(min=0.0)
    for iteration in range(100):
        argument = log_gain + d / multiplicity
        right = constant + torch.logaddexp(argument, torch.zeros_like(argument))
        step = (right - d) / (1.0 - torch.sigmoid(argument) / multiplicity)
        d = d + step
        if iteration % 4 == 3 and not bool((step.abs() > 1e-15 * (1.0 + d)).any()):
            break
    return d


class BlockLoss:
    """The loss F(M, b) of one problem on one device."""

    def __init__(self, problem: ClusterProblem, device: torch.device) -> None:
        self.problem = problem
        self.device = device
        self.count = self.vector(problem.count)
        self.multiplicity = self.vector(problem.multiplicity)
        self.loss_weight = self.vector(problem.loss_weight)
        self._cluster_weight = self.multiplicity * self.loss_weight
        theta = self.vector(problem.threshold_ratio)
        self._active = ((self.multiplicity > 1.0) & (theta < 1.0)).nonzero().flatten()
        self._active_theta = theta[self._active]
        self._scales: dict[torch.dtype, _Scales] = {}

    def vector(self, values: object) -> torch.Tensor:
        """Copy an array of shape (C,) to the device in float64."""
        return torch.as_tensor(values, dtype=torch.float64).to(self.device, copy=True)

    def fits_float32(self) -> bool:
        """Whether all scales and penalties are far inside the range of float32."""
        scales = self.scales(torch.float64)
        vectors = torch.stack((scales.row, scales.column, scales.weight, self.count.sqrt()))
        low, high = (float(v) for v in torch.stack(vectors.aminmax()).tolist())
        penalties = [self.problem.lambda_z]
        if self.problem.has_bias:
            penalties.append(max(self.problem.lambda_b, _FLOAT32_LOW))  # a small one just vanishes
        return _FLOAT32_LOW <= min(low, *penalties) and max(high, *penalties) < 1.0 / _FLOAT32_LOW

    def zeros(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Return a vector of zeros of shape (C,)."""
        return torch.zeros(self.problem.size, dtype=dtype, device=self.device)

    def matrix(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Allocate a matrix of shape (C, C)."""
        size = self.problem.size
        return torch.empty((size, size), dtype=dtype, device=self.device)

    def evaluate(self, logits: torch.Tensor, bias: torch.Tensor) -> LossState:
        """F at a point; `logits` holds M transposed and is overwritten by the slope."""
        scales = self.scales(logits.dtype)
        largest, total, weighted = self._exponentials(logits, bias, scales)
        k = self.multiplicity
        log_others = largest + total.log()
        spread = torch.zeros_like(k)
        if self._active.numel():
            active = self._active
            spread[active] = solve_spread(log_others[active], k[active], self._active_theta)
        own_shift = spread * (1.0 - 1.0 / k)  # own logit relative to the cluster's mean
        # Odds of the wrong classes against the own class, in logarithms.
        log_cluster = (k - 1.0).log() - spread
        log_odds = torch.logaddexp(log_cluster, log_others - own_shift)
        log_own = torch.logaddexp(log_odds, torch.zeros_like(log_odds))
        own_other = (log_cluster - log_own).exp()
        factor = (largest - own_shift - log_own).exp()
        rest = factor * total
        mean_log = factor * (weighted - own_shift * total) - spread * own_other
        logits.mul_((factor * scales.weight).to(logits.dtype)[:, None]).mul_(scales.row)
        logits.diagonal().copy_(-rest * scales.row * scales.weight)
        loss, amplitude_norm = torch.stack(
            (self._cluster_weight @ log_own, (k - 1.0) @ (spread * self.count.sqrt()))
        ).tolist()
        return LossState(
            slope=logits,
            rest=rest,
            own_other=own_other,
            p_own=(-log_own).exp(),
            log_own=log_own,
            mean_log=mean_log,
            spread=spread,
            value=loss + self.problem.lambda_z * amplitude_norm,
            amplitude_norm=amplitude_norm,
        )

    def bias_gradient(self, state: LossState) -> torch.Tensor:
        """Gradient of F in the scaled bias, shape (C,) in the precision of the slope."""
        return state.slope.T @ self.scales(state.slope.dtype).column_inverse

    def curvature(self, state: LossState, dtype: torch.dtype) -> Curvature:
        """Second-order information at a point, for `hessian_product`."""
        share = 1.0 / self.multiplicity
        kappa = 1.0 - share
        own, other, rest = state.p_own, state.own_other, state.rest
        # The amplitude follows M and b so that its optimality equation keeps holding.
        coupling = kappa * own - share * other
        variance = own * (kappa.square() * rest + other) + rest * other * share.square()
        rate = torch.ones_like(rest)
        active = self._active
        gain = coupling[active].square() / variance[active]
        rate[active] += torch.where(variance[active] > 0.0, gain, 0.0)
        return Curvature(state.slope.to(dtype), rest.to(dtype), rate.to(dtype))

    def hessian_product(
        self, curvature: Curvature, change: torch.Tensor | None, bias_change: torch.Tensor
    ) -> torch.Tensor:
        """Hessian of F times a direction.

        Parameters
        ----------
        curvature : Curvature
            Of the current point.
        change : Tensor of shape (C, C) or None
            Direction in M, transposed, overwritten by the product; None for zero, when only the
            product in the bias is wanted.
        bias_change : Tensor of shape (C,)
            Direction in the scaled bias.

        Returns
        -------
        Tensor of shape (C,)
            The product in the scaled bias.
        """
        size = self.problem.size
        scales = self.scales(bias_change.dtype)
        product_bias = torch.zeros_like(bias_change)
        for rows in row_blocks(size, size, self.device):
            slope = curvature.slope[rows]
            if change is None:
                z = bias_change.repeat(slope.shape[0], 1)
            else:
                z = change[rows].mul_(scales.column[rows, None]).add_(bias_change)
            z.mul_(scales.row)
            diagonal = z.diagonal(rows.start)
            z.sub_(diagonal.clone()[:, None]).mul_(slope)
            mean = (z @ scales.row_inverse) * scales.weight_inverse[rows]
            shift = mean * curvature.shift_rate[rows]
            z.addcmul_(slope, shift[:, None], value=-1.0)
            own = curvature.rest[rows] * shift - mean
            diagonal.copy_(own * scales.row[rows] * scales.weight[rows])
            product_bias.addmv_(z.T, scales.column_inverse[rows])
        return product_bias

    def hessian_diagonal(self, curvature: Curvature, diagonal: torch.Tensor | None) -> torch.Tensor:
        """Diagonal of the Hessian of F, up to the small effect of the amplitudes.

        `diagonal` (C, C) receives that in M, transposed, unless it is None; that in the scaled
        bias (C,) is returned.
        """
        size = self.problem.size
        scales = self.scales(curvature.slope.dtype)
        diagonal_bias = torch.zeros_like(scales.row)
        for rows in row_blocks(size, size, self.device):
            slope = curvature.slope[rows]
            work = torch.empty_like(slope) if diagonal is None else diagonal[rows]
            torch.mul(slope, scales.weight_inverse[rows, None], out=work)
            work.mul_(scales.row_inverse).sub_(1.0).neg_().mul_(slope)  # mass (1 - mass)
            work.mul_(scales.column[rows, None]).mul_(scales.row)
            rest = curvature.rest[rows]
            own = scales.row[rows].square() * scales.weight[rows] * scales.column[rows]
            work.diagonal(rows.start).copy_(rest * (1.0 - rest) * own)
            diagonal_bias.addmv_(work.T, scales.column_inverse[rows].square())
        return diagonal_bias

    def amplitude_gradient(self, state: LossState) -> torch.Tensor:
        """Singular value of the gradient on differences of a cluster's classes, shape (C,)."""
        others = self.multiplicity - 1.0
        other = torch.where(others > 0.0, state.own_other / others.clamp(min=1e-300), 0.0)
        value = self.loss_weight / self.count.sqrt() * (state.rest + state.own_other + other)
        return torch.where(others > 0.0, value, 0.0)

    def amplitudes(self, state: LossState) -> torch.Tensor:
        """alpha_i = d_i sqrt(n_i), shape (C,)."""
        return state.spread * self.count.sqrt()

    def scales(self, dtype: torch.dtype) -> _Scales:
        """Scaling vectors in one precision."""
        if dtype not in self._scales:
            row = self.multiplicity.rsqrt()
            column = (self.multiplicity * self.count).rsqrt()
            weight = self._cluster_weight * column
            vectors = (self.multiplicity, row, column, weight, 1 / row, 1 / column, 1 / weight)
            self._scales[dtype] = _Scales(*(vector.to(dtype) for vector in vectors))
        return self._scales[dtype]

    def _exponentials(
        self, logits: torch.Tensor, bias: torch.Tensor, scales: _Scales
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Overwrite M by e_j = k_j exp(x_j - largest), x_j the logit relative to the own cluster.

        Returns the largest x_j, the sum of e_j and the sum of e_j x_j of every row, in float64.
        """
        size = self.problem.size
        largest, total, weighted = (self.zeros() for _ in range(3))
        for rows in row_blocks(size, size, self.device):
            x = logits[rows].mul_(scales.column[rows, None]).add_(bias).mul_(scales.row)
            diagonal = x.diagonal(rows.start)
            x.sub_(diagonal.clone()[:, None])
            diagonal.fill_(_NEVER)
            top = x.amax(1)
            x.sub_(top[:, None])
            e = x.exp().mul_(scales.multiplicity)
            total[rows] = e.sum(1, dtype=torch.float64)
            weighted[rows] = x.mul_(e).sum(1, dtype=torch.float64)
            largest[rows] = top.to(torch.float64)
            x.copy_(e)
        weighted += largest * total
        if size == 1:  # no other cluster
            total.zero_()
            weighted.zero_()
            largest.zero_()
        return largest, total, weighted
