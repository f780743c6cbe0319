"""The advisor's conventions against training free features as a training loop would."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

import ufm

COUNTS = (6, 6, 2, 2)
DECAY, LAMBDA_B = 0.11, 0.05


def train(counts, *, feature_decay, repeats=None, class_weights=None, seed=0):
    """Minimise the penalised loss of a training loop over W, b and one feature per sample.

    The loop sees sample i ``repeats[class]`` times per epoch. As in PyTorch: weight decay wd has
    the gradient wd * W, the weighted loss is divided by its summed weights, the feature penalty
    c / 2 ||h||^2 is averaged over what is seen. Return the objective, the class means of the
    bias-free logits (K, K) and their spread within classes.
    """
    K = len(counts)
    labels = np.repeat(np.arange(K), counts)
    seen = np.ones(K) if repeats is None else np.asarray(repeats, float)
    weight = np.ones(K) if class_weights is None else np.asarray(class_weights)
    times = seen[labels]
    loss_share = times * weight[labels] / (times * weight[labels]).sum()
    feature_share = feature_decay * times / times.sum()
    size, dim = labels.size, K

    def objective(x):
        W, H = x[: K * dim].reshape(K, dim), x[K * dim : -K].reshape(dim, size)
        b = x[-K:]
        logits = W @ H + b[:, None]
        logits = logits - logits.max(axis=0)
        P = np.exp(logits)
        P /= P.sum(axis=0)
        own = np.log(P[labels, np.arange(size)])
        value = -(loss_share * own).sum() + DECAY / 2 * (W**2).sum() + LAMBDA_B / 2 * (b**2).sum()
        value += (feature_share * (H**2).sum(axis=0)).sum() / 2
        P[labels, np.arange(size)] -= 1
        G = P * loss_share
        gradient = [
            (G @ H.T + DECAY * W).ravel(),
            (W.T @ G + feature_share * H).ravel(),
            G.sum(axis=1) + LAMBDA_B * b,
        ]
        return value, np.concatenate(gradient)

    start = np.random.default_rng(seed).normal(size=K * dim + dim * size + K)
    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9}
    end = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    W, H = end.x[: K * dim].reshape(K, dim), end.x[K * dim : -K].reshape(dim, size)
    logits = W @ H
    Z = np.stack([logits[:, labels == k].mean(axis=1) for k in range(K)], axis=1)
    return end.fun, Z, np.abs(logits - Z[:, labels]).max()


def advise(feature_decay):
    return ufm.advise(
        COUNTS,
        weight_decay=DECAY,
        feature_decay=feature_decay,
        feature_penalty="mean",
        lambda_b=LAMBDA_B,
        margin=0.1,
    )


@pytest.fixture(scope="module")
def feature_decay():
    # lambda_z = sqrt(DECAY c / N): 1.15 times the threshold of the small classes.
    N = sum(COUNTS)
    return (1.15 * math.sqrt(2) / N) ** 2 * N / DECAY


def test_decays_map_to_lambda_z(feature_decay):
    advice = advise(feature_decay)
    value, Z, spread = train(COUNTS, feature_decay=feature_decay)
    assert value == pytest.approx(advice.solution.objective, rel=1e-7)
    assert Z == pytest.approx(advice.solution.Z, abs=1e-3)
    assert spread < 1e-3  # samples of one class share their feature
    assert np.abs(Z[:, 2] - Z[:, 3]).max() < 1e-3
    assert advice.merged.tolist() == [False, False, True, True]


def test_normalised_weights_part_the_classes(feature_decay):
    weights = advise(feature_decay).weights.normalised
    _, Z, _ = train(COUNTS, feature_decay=feature_decay, class_weights=weights)
    assert np.abs(Z[:, 2] - Z[:, 3]).max() > 0.05
    # A fifth of the way is not enough.
    short = 1 + (weights - 1) * 0.2
    _, Z, _ = train(COUNTS, feature_decay=feature_decay, class_weights=short)
    assert np.abs(Z[:, 2] - Z[:, 3]).max() < 1e-3


def test_repeated_samples_part_the_classes(feature_decay):
    advice = advise(feature_decay)
    samples = advice.oversampling.samples
    assert samples.tolist() == [6, 6, 5, 5]
    repeats = samples / np.array(COUNTS)
    value, Z, spread = train(COUNTS, feature_decay=feature_decay, repeats=repeats)
    lambda_z = math.sqrt(DECAY * feature_decay / samples.sum())
    solution = ufm.solve(samples, lambda_z, LAMBDA_B)
    assert lambda_z == pytest.approx(advice.penalties.at(samples.sum()))
    assert value == pytest.approx(solution.objective, rel=1e-7)
    assert Z == pytest.approx(solution.Z, abs=1e-3)
    assert spread < 1e-3
    assert np.abs(Z[:, 2] - Z[:, 3]).max() > 0.05
