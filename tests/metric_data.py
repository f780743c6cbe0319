"""Features with known class means for the tests of the metrics."""

from __future__ import annotations

import numpy as np


def centred_noise(rng, number, dim):
    """Noise of a class whose mean is zero to the last digit that matters."""
    noise = rng.normal(size=(number, dim))
    return noise - noise.mean(axis=0)


def imbalanced(dim=64, gap=1e-3, sigma=1.0, length=1.0, seed=0):
    """5 x 500 + 5 x 100 samples; minority means `gap` apart.

    The means are e_1 .. e_5 and e_6 + gap / sqrt(2) e_j, the unit vectors of the given length; the
    within-class covariance is sigma^2 I up to sampling.
    """
    rng = np.random.default_rng(seed)
    counts = np.array([500] * 5 + [100] * 5)
    basis = np.eye(dim)
    M = np.vstack([length * basis[:5], length * basis[5] + gap / np.sqrt(2.0) * basis[6:11]])
    labels = np.repeat(np.arange(10), counts)
    features = np.concatenate(
        [m + sigma * centred_noise(rng, n, dim) for m, n in zip(M, counts, strict=True)]
    )
    order = rng.permutation(labels.size)
    return features[order], labels[order], counts, M


def random_network(seed=0, num_classes=7, dim=5, samples=60):
    """Features, labels (every class at least once, one exactly once), classifier and bias."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(1, num_classes, samples)])
    M = rng.normal(size=(num_classes, dim))
    features = 3.0 + M[labels] + 0.3 * rng.normal(size=(labels.size, dim))
    W = M + 0.2 * rng.normal(size=M.shape)
    return features, labels, W, rng.normal(size=num_classes)
