"""Duality gap of any solution that is constant on clusters, for every loss and many clusters.

Independent of the package: written from the block structure (theory, facts 2 and 4) in numpy. A
class of cluster i has logit ``own[i]`` for itself, ``other[i, i]`` for the other classes of its
cluster and ``other[j, i]`` for those of cluster j; b is added to all. With targets
``t = (1 - epsilon) e + epsilon / K``, scales s, offsets o, loss weights pi and metric D::

    min  sum_k pi_k CE(s (z_k + b) + o, t_k) + lambda_z ||Z D^{1/2}||_* + lambda_b/2 |b|^2
    max  sum_k pi_k (H(p_k) + <p_k - t_k, o>) - |diag(s) (P - T) pi|^2 / (2 lambda_b)
    subject to  ||diag(s) (P - T) diag(pi / sqrt D)||_2 <= lambda_z

Two dual points are built: ``T + sigma (P - T)``, and the same after moving probability so that the
bias equation holds exactly, without which nothing is feasible for lambda_b = 0. Columns come in
blocks, which are kept up to `KEPT` clusters and recomputed at every pass beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from oracles.numpy_oracle import Array, Certificate

KEPT = 4000
DENSE_NORM = 500
BLOCK = 512


@dataclass(frozen=True, eq=False)
class Clusters:
    """A problem and a point by clusters; all vectors have shape (C,).

    ``other(columns)`` gives the block of shape (C, len(columns)) of off-diagonal logits.
    """

    sizes: Array
    metric: Array
    pi: Array
    scales: Array
    offsets: Array
    smoothing: float
    own: Array
    bias: Array
    other: Callable[[slice], Array]

    @property
    def count(self) -> int:
        return self.sizes.size

    @cached_property
    def label(self) -> float:
        """Target of every wrong class."""
        return self.smoothing / float(self.sizes.sum())


@dataclass(frozen=True, eq=False)
class DualPoint:
    """Probabilities: of one wrong class by row and column cluster, and what the columns miss."""

    blocks: Callable[[], Iterator[tuple[slice, Array]]]
    miss: Array
    drift: Array  # diag(s) (P - T) pi, of one class of each cluster


class Oracle:
    """Primal value and dual bounds of one point."""

    def __init__(self, clusters: Clusters) -> None:
        self.at = clusters
        self._kept: list[tuple[slice, Array]] | None = None
        if clusters.count <= KEPT:
            self._kept = list(self._computed())
        self._sums = self._totals()

    # ------------------------------------------------------------------ predictions

    def _relative(self, columns: slice) -> Array:
        """Logits of a column minus the own one."""
        at = self.at
        logits = at.scales[:, None] * (at.other(columns) + at.bias[:, None]) + at.offsets[:, None]
        own = at.scales[columns] * (at.own[columns] + at.bias[columns]) + at.offsets[columns]
        relative: Array = logits - own
        return relative

    def number(self, columns: slice) -> Array:
        """Wrong classes behind each entry, shape (C, block)."""
        number = np.repeat(self.at.sizes[:, None], columns.stop - columns.start, axis=1)
        number[np.arange(columns.start, columns.stop), np.arange(number.shape[1])] -= 1.0
        return number

    def _computed(self) -> Iterator[tuple[slice, Array]]:
        for start in range(0, self.at.count, BLOCK):
            columns = slice(start, min(start + BLOCK, self.at.count))
            relative = self._relative(columns)
            shift = np.maximum(relative.max(axis=0), 0.0)
            odds = np.exp(relative - shift)
            rest = (self.number(columns) * odds).sum(axis=0)
            odds /= np.exp(-shift) + rest
            yield columns, odds

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Column blocks of the probability of one wrong class."""
        return iter(self._kept) if self._kept is not None else self._computed()

    def _totals(self) -> dict[str, Array]:
        """Loss and missing probability of each column, and the bias equation's residual."""
        at = self.at
        loss, miss = np.empty(at.count), np.empty(at.count)
        excess = np.zeros(at.count)  # of q - t, from wrong classes
        for columns, _ in _slices(at.count):
            relative = self._relative(columns)
            number = self.number(columns)
            shift = np.maximum(relative.max(axis=0), 0.0)
            odds = np.exp(relative - shift)
            rest, mine = (number * odds).sum(axis=0), np.exp(-shift)
            log_own = np.where(
                shift > 0, shift + np.log(mine + rest), np.log1p(np.where(shift > 0, 0.0, rest))
            )
            loss[columns] = log_own - at.label * (number * relative).sum(axis=0)
            miss[columns] = rest / (mine + rest)
            weight = at.sizes[columns] * at.pi[columns]
            odds /= mine + rest
            excess += ((number * odds - number * at.label) @ weight) / at.sizes
        excess -= at.pi * (miss - self._missing_label)
        return {"loss": loss, "miss": miss, "excess": excess}

    @property
    def _missing_label(self) -> float:
        """What the targets leave to the wrong classes."""
        return self.at.smoothing - self.at.label

    # ------------------------------------------------------------------ primal

    @property
    def loss(self) -> float:
        return float((self.at.sizes * self.at.pi) @ self._sums["loss"])

    @property
    def bias_square(self) -> float:
        return float(self.at.sizes @ self.at.bias**2)

    def between(self) -> Array:
        """Z D^{1/2} between clusters, shape (C, C)."""
        at = self.at
        matrix = np.empty((at.count, at.count))
        for columns, _ in _slices(at.count):
            spread = np.sqrt(np.outer(at.sizes, at.sizes[columns] * at.metric[columns]))
            matrix[:, columns] = at.other(columns) * spread
        diagonal = np.diag_indices(at.count)
        matrix[diagonal] += self.amplitudes
        return matrix

    @cached_property
    def amplitudes(self) -> Array:
        """Within-cluster singular values."""
        at = self.at
        same = np.empty(at.count)
        for columns, _ in _slices(at.count):
            inside = np.arange(columns.start, columns.stop)
            same[columns] = at.other(columns)[inside, inside - columns.start]
        return (at.own - same) * np.sqrt(at.metric)

    def nuclear_norm(self) -> float:
        within = float((self.at.sizes - 1) @ np.abs(self.amplitudes))
        return float(np.linalg.svd(self.between(), compute_uv=False).sum()) + within

    def nuclear_norm_below(self, point: DualPoint, norm: float) -> float:
        """Lower bound ``<G, X> / ||G||_2`` of the nuclear norm of X = Z D^{1/2}."""
        at = self.at
        inner = 0.0
        for columns, each in point.blocks():
            weight = at.sizes[columns] * at.pi[columns]
            wrong = self.number(columns) * (at.label - each) * at.scales[:, None]
            inner += float((wrong * at.other(columns)).sum(axis=0) @ weight)
        own = at.scales * (point.miss - self._missing_label) * at.own
        return (inner + float((at.sizes * at.pi) @ own)) / norm

    def primal(self, lambda_z: float, lambda_b: float, nuclear_norm: float) -> float:
        value = self.loss + lambda_z * nuclear_norm
        if np.isinf(lambda_b):
            return value if not self.at.bias.any() else float("inf")
        return value + 0.5 * lambda_b * self.bias_square

    # ------------------------------------------------------------------ dual

    def plain_point(self) -> DualPoint:
        """The predictions themselves."""
        drift = self.at.scales * self._sums["excess"]
        return DualPoint(self.blocks, self._sums["miss"], drift)

    def repaired_point(self, lambda_b: float) -> DualPoint:
        """The predictions, with probability moved so that their drift is -lambda_b b exactly."""
        at, miss = self.at, self._sums["miss"]
        # Columns sum to one, so that only a bias orthogonal to 1/s can be met.
        flat = at.sizes / at.scales
        bias = at.bias - (flat @ at.bias) / (flat @ (1.0 / at.scales)) / at.scales
        target = -lambda_b * bias / at.scales
        excess = self._sums["excess"] - target
        excess -= (at.sizes @ excess) / at.sizes.sum()  # rounding
        rows = self._sums["excess"] + self._row_labels
        share = np.where(excess > 0, excess / np.maximum(rows, np.finfo(float).tiny), 0.0)
        if (share > 1).any():
            return self.plain_point()
        lack = np.maximum(-excess, 0.0)
        total = float(at.sizes @ lack)
        taken = lack / total if total > 0 else lack

        def blocks() -> Iterator[tuple[slice, Array]]:
            for columns, each in self.blocks():
                moved = share @ (self.number(columns) * each)
                moved += share[columns] * (1.0 - miss[columns])
                yield columns, each * (1.0 - share[:, None]) + taken[:, None] * moved

        new_miss = np.empty(at.count)
        for columns, each in blocks():
            new_miss[columns] = (self.number(columns) * each).sum(axis=0)
        return DualPoint(blocks, new_miss, at.scales * target)

    @property
    def _row_labels(self) -> Array:
        """Targets of one class of each cluster, summed with the loss weights."""
        at = self.at
        labels: Array = at.label * float(at.sizes @ at.pi) + at.pi * (1.0 - at.smoothing)
        return labels

    def gradient(self, point: DualPoint) -> Array:
        """``diag(s) (T - P) diag(pi / sqrt D)`` between clusters, shape (C, C)."""
        matrix = np.empty((self.at.count, self.at.count))
        for columns, block in self._gradient_blocks(point):
            matrix[:, columns] = block
        return matrix

    def _gradient_blocks(self, point: DualPoint) -> Iterator[tuple[slice, Array]]:
        at = self.at
        for columns, each in point.blocks():
            inside = np.arange(columns.start, columns.stop)
            block = np.sqrt(np.outer(at.sizes, at.sizes[columns])) * (at.label - each)
            own = point.miss[columns] - self._missing_label
            same = at.label - each[inside, inside - columns.start]
            block[inside, inside - columns.start] = own + (at.sizes[columns] - 1.0) * same
            yield columns, at.scales[:, None] * block * (at.pi / np.sqrt(at.metric))[columns]

    def _within_norm(self, point: DualPoint) -> float:
        at = self.at
        largest = 0.0
        for columns, each in point.blocks():
            inside = np.arange(columns.start, columns.stop)
            same = at.label - each[inside, inside - columns.start]
            value = point.miss[columns] - self._missing_label - same
            value = np.abs(at.scales * at.pi / np.sqrt(at.metric))[columns] * np.abs(value)
            largest = max(largest, float(np.where(at.sizes[columns] > 1, value, 0.0).max()))
        return largest

    def norm(self, point: DualPoint) -> tuple[float, float]:
        """Norm of the gradient and by how much, relatively, it may be too large.

        An upper bound up to rounding, but infinity where it is a lower estimate by probes.
        """
        within = self._within_norm(point)
        if self.at.count <= DENSE_NORM:
            return max(float(np.linalg.norm(self.gradient(point), 2)), within), 0.0
        if self.at.count <= KEPT:
            between, excess = _norm_above(self.gradient(point))
            return max(between, within), excess
        return max(self._probed_norm(point), within), float("inf")

    def _probed_norm(self, point: DualPoint, probes: int = 12, passes: int = 3) -> float:
        """Block power iteration on G^T G from Gaussian probes: never above the norm."""
        probe = np.random.default_rng(0).standard_normal((self.at.count, probes))
        largest = 0.0
        for _ in range(passes):
            probe = np.linalg.qr(probe)[0]
            image = np.zeros((self.at.count, probes))
            for columns, block in self._gradient_blocks(point):
                image += block @ probe[columns]
            largest = float(np.linalg.norm(image, 2))
            image /= largest
            for columns, block in self._gradient_blocks(point):
                probe[columns] = block.T @ image
        return largest

    def dual_value(self, point: DualPoint, sigma: float, lambda_b: float) -> float:
        """Dual objective at ``T + sigma (P - T)``, whose feasibility is the caller's concern."""
        at = self.at
        total = 0.0
        for columns, each in point.blocks():
            number = self.number(columns)
            wrong = (1.0 - sigma) * at.label + sigma * each
            missing = (1.0 - sigma) * self._missing_label + sigma * point.miss[columns]
            logs = np.log(np.where(wrong > 0, wrong, 1.0))
            kept = (1.0 - sigma) * (1.0 - self._missing_label) + sigma * (1 - point.miss[columns])
            log_kept = np.where(
                missing < 0.5,
                np.log1p(-np.minimum(missing, 0.5)),
                np.log(np.maximum(kept, np.finfo(float).tiny)),
            )
            column = -(number * wrong * logs).sum(axis=0) - kept * log_kept
            gap = at.offsets[:, None] - at.offsets[columns]
            column += sigma * (number * (each - at.label) * gap).sum(axis=0)
            total += float(column @ (at.sizes * at.pi)[columns])
        if np.isinf(lambda_b):
            return total
        square = sigma**2 * float(at.sizes @ point.drift**2)
        if square == 0.0:
            return total
        return total - square / (2.0 * lambda_b) if lambda_b > 0 else -float("inf")

    def points(self, lambda_b: float) -> list[DualPoint]:
        """The dual points worth trying."""
        points = [] if lambda_b == 0 else [self.plain_point()]
        # A second set of passes only where the bias equation is delicate or all is cheap.
        if np.isfinite(lambda_b) and (self.at.count <= DENSE_NORM or lambda_b < 0.1):
            points.append(self.repaired_point(lambda_b))
        return points

    def certificate(self, lambda_z: float, lambda_b: float, nuclear_norm: float) -> Certificate:
        """Primal value and the best dual bound of the points; feasible where norms are proved."""
        best, scale = -float("inf"), 0.0
        for point in self.points(lambda_b):
            norm, _ = self.norm(point)
            sigma = min(1.0, lambda_z / norm) if norm > 0 else 1.0
            value = self.dual_value(point, sigma, lambda_b)
            if value > best:
                best, scale = value, sigma
        return Certificate(self.primal(lambda_z, lambda_b, nuclear_norm), best, scale)

    def constrained_bound(self, radius: float, lambda_b: float) -> float:
        """Lower bound of loss and bias penalty where ``||Z D^{1/2}||_* <= radius``."""
        best = -float("inf")
        for point in self.points(lambda_b):
            norm, _ = self.norm(point)
            best = max(best, self.dual_value(point, 1.0, lambda_b) - radius * norm)
        return best


def _slices(size: int) -> Iterator[tuple[slice, None]]:
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size)), None


def _norm_above(matrix: Array) -> tuple[float, float]:
    """An upper bound of the operator norm, proved by a Cholesky factorisation, and its excess.

    Starts just above Lanczos' estimate; sigma^2 I - G^T G has a factorisation only if
    sigma exceeds the norm, up to rounding of relative size 1e-12.
    """
    gram = matrix.T @ matrix
    square = _largest_eigenvalue(gram)
    for excess in (1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0):
        shifted = -gram
        shifted[np.diag_indices_from(shifted)] += square * (1.0 + 2.0 * excess)
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            continue
        return float(np.sqrt(square * (1.0 + 2.0 * excess))), excess
    bound = float(np.linalg.norm(matrix))
    return bound, bound / float(np.sqrt(square)) - 1.0


def _largest_eigenvalue(gram: Array) -> float:
    """A lower estimate of the largest eigenvalue, good to many digits."""
    start = np.random.default_rng(1).standard_normal(gram.shape[0])
    try:
        values = eigsh(gram, k=1, which="LA", tol=1e-9, ncv=80, v0=start, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        values = error.eigenvalues
    return float(values[-1]) if len(values) else float(np.linalg.norm(gram, 2))
