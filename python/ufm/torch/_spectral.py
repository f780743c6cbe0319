"""An upper bound of the operator norm without a singular value decomposition.

A Lanczos estimate theta, then a proof that sigma = theta (1 + a little) is not exceeded:
sigma^2 I - A^T A has a Cholesky factorisation. The factorisation runs on the device where it fits
and otherwise with its matrix in the host's memory. Where neither has room, a bound that fails with
probability 1e-9 over the Lanczos start vector takes its place. It lies some 0.05 % above the norm,
so that no gap below about that is reported then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ufm.torch._device import free_bytes
from ufm.torch._monitor import Monitor

_EPSILON = 2.0**-52
_SMALL = 128  # up to this size a singular value decomposition is as fast
_STEPS = 60
_STEPS_WITHOUT_PROOF = 400
_BLOCK_CPU = 1024
_BLOCK_GPU = 2048
_EXCESSES = (1e-11, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
# Probability that the bound without a factorisation is wrong, over its random start vector.
_FAILURE = 1e-9


@dataclass(eq=False)
class NormBound:
    """Bounds of ||A||_2.

    Attributes
    ----------
    estimate : float
        A lower bound, accurate to several digits.
    upper : float
        An upper bound.
    row, column : Tensor of shape (C,)
        Approximate singular vectors that belong to the estimate: row^T A column.
    """

    estimate: float
    upper: float
    row: torch.Tensor
    column: torch.Tensor


def operator_norm(a: torch.Tensor, monitor: Monitor) -> NormBound:
    """Bound ||A||_2 of a square float64 matrix from above."""
    if a.shape[0] <= _SMALL:
        return _small_norm(a)
    bound, _ = lanczos(a, monitor)
    if not bound.estimate > 0.0:  # zero, or not a number
        bound.upper = float(torch.linalg.matrix_norm(a).item())
        return bound
    bound.upper = _proved_norm(a, bound.estimate, monitor)
    if not math.isfinite(bound.upper):
        bound, steps = lanczos(a, monitor, _STEPS_WITHOUT_PROOF, accuracy=0.0)
        bound.upper = bound.estimate * random_start_factor(a.shape[0], steps)
    return bound


def random_start_factor(size: int, steps: int) -> float:
    """Factor by which ||A||_2 exceeds a Lanczos estimate at most, but for one case in 1e9.

    For a start vector uniform on the sphere, the largest eigenvalue of A^T A exceeds the estimate
    of k steps by a relative eps with probability at most 1.648 sqrt(n) exp(-sqrt(eps) (2 k - 1))
    (Kuczynski and Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992).
    """
    root = math.log(1.648 * math.sqrt(size) / _FAILURE) / (2 * steps - 1)
    return math.inf if root >= 1.0 else 1.0 / math.sqrt(1.0 - root * root)


def lanczos(
    a: torch.Tensor, monitor: Monitor, most_steps: int = _STEPS, accuracy: float = 1e-10
) -> tuple[NormBound, int]:
    """Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation.

    Ends after `most_steps` or when the estimate is known to the relative `accuracy`. Returns the
    bound, with ``upper`` infinite, and the number of steps made.
    """
    size = a.shape[0]
    steps = min(most_steps, size)
    # The same vector on every run and every device, without relation to any matrix.
    generator = torch.Generator().manual_seed(20240917)
    v = torch.randn(size, dtype=torch.float64, generator=generator).to(a.device)
    v /= v.norm()
    left = torch.zeros((steps, size), dtype=torch.float64, device=a.device)
    right = torch.zeros_like(left)
    bidiagonal = torch.zeros((steps, steps), dtype=torch.float64)
    beta = 0.0
    for j in range(steps):
        monitor.check()
        right[j] = v
        u = a @ v
        if j > 0:
            u -= beta * left[j - 1]
            _orthogonalise(left[:j], u)
        alpha = float(u.norm().item())
        bidiagonal[j, j] = alpha
        if alpha > 0.0:
            left[j] = u / alpha
        v = a.T @ left[j] - alpha * v
        _orthogonalise(right[: j + 1], v)
        beta = float(v.norm().item())
        negligible = not beta > _EPSILON * float(bidiagonal.norm())
        last = j + 1 == steps or negligible or not alpha > 0.0
        if (last or j % 5 == 4) and math.isfinite(alpha + beta):
            small_left, values, small_right = torch.linalg.svd(bidiagonal[: j + 1, : j + 1])
            estimate = float(values[0])
            if last or beta * abs(float(small_left[j, 0])) < accuracy * estimate:
                row = small_left[:, 0].to(a.device) @ left[: j + 1]
                column = small_right[0].to(a.device) @ right[: j + 1]
                return NormBound(estimate, math.inf, row, column), j + 1
        if last:
            break
        v /= beta
        bidiagonal[j, j + 1] = beta
    return NormBound(math.nan, math.inf, left[0], right[0]), 1


def _orthogonalise(basis: torch.Tensor, vector: torch.Tensor) -> None:
    for _ in range(2):
        vector -= (basis @ vector) @ basis


def _small_norm(a: torch.Tensor) -> NormBound:
    if not bool(a.isfinite().all()):
        return NormBound(math.nan, math.nan, a[0], a[0])
    left, values, right = torch.linalg.svd(a)
    estimate = float(values[0].item())
    upper = estimate * (1.0 + 8.0 * a.shape[0] * _EPSILON)
    return NormBound(estimate, upper, left[:, 0], right[0])


def _proved_norm(a: torch.Tensor, estimate: float, monitor: Monitor) -> float:
    """Smallest bound of a short list for which the factorisation exists, infinity without room."""
    size = a.shape[0]
    proof = GramProof.create(a, monitor)
    if proof is None:
        return math.inf
    # The Gram matrix is off by at most gamma ||A||_F^2 and the factorisation proves definiteness
    # up to gamma trace(sigma^2 I - A^T A), gamma = (n + 3) epsilon with a factor 2 to spare
    # (Higham, Accuracy and Stability of Numerical Algorithms, 3.5 and 10.3; Rump, BIT 46, 2006).
    # The two add up to gamma n sigma^2.
    margin = math.sqrt(1.0 + (size + 3) * _EPSILON * size)
    for excess in _EXCESSES:
        sigma = estimate * (1.0 + excess)
        if proof.holds(sigma, monitor):
            return sigma * margin
    return float(torch.linalg.matrix_norm(a).item()) * margin


class GramProof:
    """Tests whether sigma^2 I - A^T A is positive definite, for one sigma after the other.

    One (C, C) matrix holds A^T A above and on its diagonal blocks, which is only read, and the
    Cholesky factor of the last test below them.
    """

    def __init__(self, a: torch.Tensor, home: torch.device, block: int, monitor: Monitor) -> None:
        self._size = a.shape[0]
        self._device = a.device
        self._block = block
        self._store = torch.empty(a.shape, dtype=a.dtype, device=home)
        for rows in self._blocks(0):
            monitor.check()
            self._store[rows, rows.start :] = a[:, rows].T @ a[:, rows.start :]

    @classmethod
    def create(cls, a: torch.Tensor, monitor: Monitor) -> GramProof | None:
        """Set up the proof on the device or, where that lacks the room, on the host."""
        on_cpu = a.device.type == "cpu"
        block = _BLOCK_CPU if on_cpu else _BLOCK_GPU
        panels = 4 * 8 * a.shape[0] * min(block, a.shape[0])
        needed = 8 * a.shape[0] ** 2
        host = torch.device("cpu")
        if needed + panels < free_bytes(a.device):
            return cls(a, a.device, block, monitor)
        if not on_cpu and panels < free_bytes(a.device) and needed < 0.9 * free_bytes(host):
            return cls(a, host, block, monitor)
        return None

    def holds(self, sigma: float, monitor: Monitor) -> bool:
        """Whether the factorisation exists, which proves ||A||_2 <= sigma up to rounding."""
        for columns in self._blocks(0):
            monitor.check()
            done = columns.start
            own = self._store[columns, :done].to(self._device)
            pivot = -self._store[columns, columns].to(self._device)
            pivot.diagonal().add_(sigma * sigma)
            pivot.addmm_(own, own.T, alpha=-1.0)
            factor, info = torch.linalg.cholesky_ex(pivot)
            if int(info.item()) != 0 or not bool(factor.diagonal().isfinite().all()):
                return False
            for rows in self._blocks(columns.stop):
                panel = -self._store[columns, rows].to(self._device)  # transposed
                panel.addmm_(own, self._store[rows, :done].to(self._device).T, alpha=-1.0)
                solved = torch.linalg.solve_triangular(factor, panel, upper=False)
                self._store[rows, columns] = solved.T.to(self._store.device)
        return True

    def _blocks(self, first: int) -> list[slice]:
        """Blocks of rows from `first`, which is a block's start."""
        starts = range(first, self._size, self._block)
        return [slice(start, min(start + self._block, self._size)) for start in starts]
