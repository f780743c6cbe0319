"""Collapse metrics by their definitions, with loops over samples and pairs of classes."""

from __future__ import annotations

import itertools
import math

import numpy as np


def statistics(features, labels, num_classes, weights=None):
    """Counts, means, variances per class and the within-class covariance, sample by sample."""
    features = np.asarray(features, dtype=np.longdouble)
    weights = np.ones(len(features)) if weights is None else np.asarray(weights)
    dim = features.shape[1]
    counts = np.array([weights[labels == k].sum() for k in range(num_classes)])
    means = np.full((num_classes, dim), np.nan, dtype=np.longdouble)
    for k in range(num_classes):
        if counts[k] > 0:
            means[k] = (weights[labels == k, None] * features[labels == k]).sum(0) / counts[k]
    variances = np.full(num_classes, np.nan, dtype=np.longdouble)
    scatter = np.zeros((dim, dim), dtype=np.longdouble)
    for k in range(num_classes):
        if counts[k] > 0:
            variances[k] = 0.0
    for row, label, weight in zip(features, labels, weights, strict=True):
        offset = row - means[label]
        scatter += weight * np.outer(offset, offset)
        variances[label] += weight * (offset @ offset) / counts[label]
    return counts, means, variances, scatter / counts.sum()


def nc1(M, covariance, counts, weights, mean, rtol):
    share = counts / counts.sum() if weights == "counts" else np.full(len(M), 1 / len(M))
    centre = (counts @ M) / counts.sum() if mean == "counts" else M.mean(0)
    between = sum(s * np.outer(m - centre, m - centre) for s, m in zip(share, M, strict=True))
    inverse = np.linalg.pinv(between, rcond=rtol, hermitian=True)
    return np.trace(covariance @ inverse) / len(M)


def cdnv(M, variances, power=2):
    K = len(M)
    table = np.zeros((K, K))
    for i, j in itertools.permutations(range(K), 2):
        distance = math.dist(M[i], M[j])
        table[i, j] = (variances[i] + variances[j]) / (2 * distance**power)
    return table


def cosines(rows):
    return [
        float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        for a, b in itertools.combinations(rows, 2)
    ]


def nc2(C):
    K = len(C)
    lengths = [np.linalg.norm(c) for c in C]
    angles = cosines(C)
    gram = C @ C.T
    etf = (np.eye(K) - 1 / K) / math.sqrt(K - 1)
    return (
        np.std(lengths) / np.mean(lengths),
        np.std(angles),
        np.mean([abs(a + 1 / (K - 1)) for a in angles]),
        np.linalg.norm(gram / np.linalg.norm(gram) - etf),
    )


def gnc2(C):
    unit = [c / np.linalg.norm(c) for c in C]
    logs = [-math.log(math.dist(a, b)) for a, b in itertools.combinations(unit, 2)]
    return np.mean(logs), np.var(logs)


def nc3(W, C):
    K = len(C)
    product = W @ C.T
    etf = (np.eye(K) - 1 / K) / math.sqrt(K - 1)
    return (
        np.linalg.norm(W / np.linalg.norm(W) - C / np.linalg.norm(C)),
        np.linalg.norm(product / np.linalg.norm(product) - etf),
    )


def unc3(W, C):
    own = [w @ c / (np.linalg.norm(w) * np.linalg.norm(c)) for w, c in zip(W, C, strict=True)]
    return np.var(own), np.mean(own)


def nc4(features, M, W, b):
    agreed = 0
    for h in features:
        nearest = min(range(len(M)), key=lambda k: math.dist(h, M[k]))
        agreed += nearest == max(range(len(M)), key=lambda k: W[k] @ h + b[k])
    return agreed / len(features)


def block_cosines(vectors, clusters):
    number = max(clusters) + 1
    values = [[[] for _ in range(number)] for _ in range(number)]
    for i, j in itertools.permutations(range(len(vectors)), 2):
        a, b = vectors[i], vectors[j]
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        values[clusters[i]][clusters[j]].append(cosine)
    return np.array([[np.mean(v) if v else np.nan for v in row] for row in values])
