"""The duality gap of a solution that is constant on clusters, for any number of classes.

Written from the block structure alone (theory, fact 2): cluster i has ``sizes[i]`` classes of
``counts[i]`` samples. A class of it has logit ``own[i]`` for itself, ``other[i, i]`` for the other
classes of its cluster, and ``other[j, i]`` for those of cluster j; the bias is added to all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oracles.numpy_oracle import Array, Certificate


@dataclass(frozen=True)
class Blocks:
    """A block-constant point, and the clusters it lives on (C of them).

    Attributes
    ----------
    own, bias, counts, sizes : (C,) arrays
    other : (C, C) array
    """

    own: Array
    other: Array
    bias: Array
    counts: Array
    sizes: Array


def nuclear_norm(blocks: Blocks) -> float:
    """Nuclear norm of ``Z D^{1/2}``: within-cluster amplitudes and the C x C between part."""
    k, n = blocks.sizes, blocks.counts
    amplitude = (blocks.own - np.diag(blocks.other)) * np.sqrt(n)
    between = blocks.other * np.sqrt(np.outer(k, k * n))
    between[np.diag_indices(k.size)] += amplitude
    within = float((k - 1) @ np.abs(amplitude))
    return float(np.linalg.svd(between, compute_uv=False).sum()) + within


def certificate(blocks: Blocks, lambda_z: float, lambda_b: float) -> Certificate:
    """Primal and dual objective of the full problem (lambda_b > 0 or infinite)."""
    k, n = blocks.sizes, blocks.counts
    pi = n / float(k @ n)
    relative = (blocks.other + blocks.bias[:, None]) - (blocks.own + blocks.bias)
    shift = np.maximum(relative.max(axis=0), 0.0)
    number = k[:, None] - np.eye(k.size)  # classes behind each entry
    odds, own = number * np.exp(relative - shift), np.exp(-shift)
    rest = odds.sum(axis=0)
    loss = np.where(shift > 0, shift + np.log(own + rest), np.log1p(rest))
    mass, miss = odds / (own + rest), rest / (own + rest)
    each = np.where(number > 0, mass / np.maximum(number, 1), 0.0)  # of one such class

    scale = pi / np.sqrt(n)
    between = -mass * np.sqrt(k / k[:, None]) * scale
    between[np.diag_indices(k.size)] = (miss - np.diag(mass)) * scale
    within = np.where(k > 1, (miss + np.diag(each)) * scale, 0.0)
    norm = max(float(np.linalg.norm(between, 2)), float(within.max()))
    s = min(1.0, lambda_z / norm)

    logs = np.log(np.where(each > 0, s * each, 1.0))
    kept = (1.0 - s) + s * own / (own + rest)  # 1 - s miss, without the cancellation
    kept_log = np.where(s * miss < 0.5, np.log1p(-np.minimum(s * miss, 0.5)), np.log(kept))
    entropy = -(s * mass * logs).sum(axis=0) - kept * kept_log
    primal = float((k * pi) @ loss) + lambda_z * nuclear_norm(blocks)
    dual = float((k * pi) @ entropy)
    if np.isfinite(lambda_b):
        drift = s * (between @ np.sqrt(k * n))  # per cluster, times sqrt(k)
        primal += 0.5 * lambda_b * float(k @ blocks.bias**2)
        dual -= float(drift @ drift) / (2 * lambda_b)
    return Certificate(primal, dual, s)
