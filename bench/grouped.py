"""The judge for solutions told by clusters: the gap of all K classes from C x C numbers.

Independent of the package like :mod:`bench.gap`, which checks it where K is small. A matrix that is
``a I + c J`` inside clusters and constant between them has the singular values of a C x C matrix
and, per cluster of m classes, the value ``|a|`` another m - 1 times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.cases import Array
from bench.gap import Gap


@dataclass(frozen=True)
class Grouped:
    """A block-structured point: counts, classes and bias a cluster, and the entries of Z.

    ``between[i, j]`` is the entry of a class of cluster i in the column of another class of
    cluster j, ``own[j]`` that of the class itself.
    """

    count: Array
    multiplicity: Array
    own: Array
    between: Array
    bias: Array


def from_solution(solution: object) -> Grouped:
    """Read a Solution's blocks, all classes with them, without forming Z."""
    blocks = solution.blocks  # type: ignore[attr-defined]
    counts = np.asarray(solution.counts)  # type: ignore[attr-defined]
    bias = np.asarray(solution.b)  # type: ignore[attr-defined]
    _, first, repeats = np.unique(blocks.cluster_of, return_index=True, return_counts=True)
    return Grouped(counts[first], repeats.astype(float), blocks.own, blocks.between, bias[first])


def _spectrum(own: Array, between: Array, multiplicity: Array, scale: Array) -> tuple[Array, Array]:
    """Singular values between clusters, and the repeated one within each, of blocks * scale."""
    root = np.sqrt(multiplicity)
    several = multiplicity > 1
    inside = np.where(several, np.diag(between), 0.0)
    matrix = between * np.outer(root, root)
    np.fill_diagonal(matrix, own + (multiplicity - 1) * inside)
    within = np.where(several, np.abs(own - inside), 0.0) * scale
    return np.linalg.svd(matrix * scale, compute_uv=False), within


def grouped_gap(point: Grouped, lambda_z: float, lambda_b: float) -> Gap:
    """Gap of exactly this point."""
    n, m, b = point.count, point.multiplicity, point.bias
    pi = n / (m @ n)
    # Logits relative to the class's own; the diagonal is the other classes of the own cluster.
    relative = point.between + b[:, None] - (point.own + b)
    classes = np.repeat(m[:, None], m.size, axis=1)
    np.fill_diagonal(classes, m - 1)
    relative[classes == 0] = -np.inf
    shift = np.maximum(relative.max(axis=0), 0.0)
    entry = np.exp(relative - shift)
    rest = (classes * entry).sum(axis=0)
    total = np.exp(-shift) + rest
    loss = np.where(shift > 0.0, shift + np.log(total), np.log1p(rest))
    p, own, wrong = entry / total, np.exp(-shift) / total, rest / total

    values, within = _spectrum(point.own, point.between, m, np.sqrt(n))
    nuclear = values.sum() + ((m - 1) * within).sum()
    primal = (m * pi) @ loss + lambda_z * nuclear + 0.5 * lambda_b * (m @ b**2)

    values, within = _spectrum(wrong, -p, m, pi / np.sqrt(n))
    s = min(1.0, lambda_z / max(values.max(), within.max()))
    dual = (m * pi) @ _entropy(p, own, wrong, classes, s)
    others = p * (m * pi)
    np.fill_diagonal(others, np.diag(p) * (m - 1) * pi)
    drift = s * (others.sum(axis=1) - pi * wrong)
    return Gap(float(primal), float(dual - (m @ drift**2) / (2.0 * lambda_b)))


def _entropy(p: Array, own: Array, wrong: Array, classes: Array, s: float) -> Array:
    scaled = s * p
    logs = np.log(scaled, out=np.zeros_like(scaled), where=scaled > 0.0)
    rest = -(classes * scaled * logs).sum(axis=0)
    kept = np.where(s * wrong < 0.5, 1.0 - s * wrong, (1.0 - s) + s * own)
    far = np.log(kept, out=np.zeros_like(kept), where=kept > 0.0)
    return rest - kept * np.where(s * wrong < 0.5, np.log1p(-np.minimum(s * wrong, 0.5)), far)
