"""Where the bias alone predicts: stated numbers, the solver on both sides, the dense formula."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import biases, two_clusters
from profiles import examples
from ufm.theory import _decoupled

BELOW, ABOVE = 0.99, 1.001


@st.composite
def clustered(draw, min_clusters=2, max_clusters=4, min_size=1):
    """Counts of a few clusters, all different, from well balanced to ratio 1e4."""
    size = draw(st.integers(min_clusters, max_clusters))
    levels = draw(st.lists(st.integers(1, 10**4), min_size=size, max_size=size, unique=True))
    sizes = draw(st.lists(st.integers(min_size, 6), min_size=size, max_size=size))
    return tuple(float(n) for n, k in zip(levels, sizes, strict=True) for _ in range(k))


@pytest.mark.parametrize(("k_a", "stated"), [(5, 0.003983), (3, 0.006407)])
def test_stated_numbers(k_a, stated):
    found = ufm.bias_only_thresholds(np.repeat([500, 100], [k_a, 10 - k_a]), 0.02)
    assert found.clusters[1].bias_only == pytest.approx(stated, abs=5.1e-7)
    assert found.decoupling == found.clusters[1].bias_only
    assert found.clusters[0].bias_only == found.clusters[0].collapse == found.lambda_max


@given(counts=clustered(max_clusters=2), lambda_b=biases())
@examples(50)
def test_two_clusters_on_both_sides(counts, lambda_b):
    found = ufm.bias_only_thresholds(counts, lambda_b)
    for i, cluster in enumerate(found.clusters):
        above = ufm.solve(counts, ABOVE * cluster.bias_only, lambda_b, tol=1e-9)
        below = ufm.solve(counts, BELOW * cluster.bias_only, lambda_b, tol=1e-9)
        assert above.converged and below.converged
        k = above.clusters[i].indices[0]
        assert not above.column(k).any()
        assert np.abs(below.column(k)).max() > 1e-7


@given(counts=clustered(min_clusters=3), lambda_b=biases())
@examples(40)
def test_many_clusters_decouple_exactly_there(counts, lambda_b):
    found = ufm.bias_only_thresholds(counts, lambda_b)
    above = ufm.solve(counts, ABOVE * found.decoupling, lambda_b, tol=1e-10)
    below = ufm.solve(counts, BELOW * found.decoupling, lambda_b, tol=1e-10)
    scale = max(np.abs(above.Z).max(), 1e-3)
    off = ~np.eye(above.num_clusters, dtype=bool)
    assert np.abs(above.blocks.between[off]).max() < 1e-4 * scale
    assert np.abs(below.blocks.between[off]).max() > 1e-7
    zero = [c.bias_only <= ABOVE * found.decoupling for c in found.clusters]
    for cluster, expected in zip(above.clusters, zero, strict=True):
        size = np.abs(above.column(cluster.indices[0])).max()
        assert size < 1e-4 * scale if expected else size > 1e-6


@given(counts=clustered(max_clusters=5), lambda_b=biases(), seed=st.integers(0, 99))
@examples(40)
def test_lambda_max_agrees_with_the_dense_formula(counts, lambda_b, seed):
    levels = np.unique(counts)
    drawn = dict(
        zip(levels, 10 ** np.random.default_rng(seed).uniform(-1, 1, levels.size), strict=True)
    )
    for weights in (None, [drawn[n] for n in counts]):
        assume(len(counts) > 1)
        found = ufm.bias_only_thresholds(counts, lambda_b, weights)
        expected = numpy_oracle.lambda_max(counts, lambda_b, weights)
        assert found.lambda_max == pytest.approx(expected, rel=1e-9)
        assert 0 < found.decoupling <= found.lambda_max


def test_class_weights_on_both_sides():
    counts = np.repeat([500.0, 100.0, 20.0], [3, 4, 2])
    weights = np.repeat([1.0, 3.0, 0.5], [3, 4, 2])
    found = ufm.bias_only_thresholds(counts, 0.02, weights)
    for cluster in found.clusters:
        for factor, expected in ((BELOW, False), (ABOVE, True)):
            solution = ufm.solve(
                counts, factor * cluster.bias_only, 0.02, class_weights=weights, tol=1e-10
            )
            k = int(np.flatnonzero(counts == cluster.count)[0])
            assert (np.abs(solution.column(k)).max() < 1e-5) == expected


def test_one_cluster_never_needs_the_bias():
    found = ufm.bias_only_thresholds([30.0] * 4, 0.02)
    assert found.decoupling == 0
    assert found.clusters[0].bias_only == found.lambda_max == pytest.approx(math.sqrt(30) / 120)


def test_single_classes_vanish_with_everything_else():
    counts = np.arange(1.0, 300.0)
    found = ufm.bias_only_thresholds(counts, 0.01)
    assert found.lambda_max == pytest.approx(numpy_oracle.lambda_max(counts, 0.01), rel=1e-10)
    assert {cluster.bias_only for cluster in found.clusters} == {found.lambda_max}


@pytest.mark.parametrize("size", [2, 7, 60])
def test_norm_without_a_decomposition(size):
    rng = np.random.default_rng(size)
    for scale in (1.0, 1 / size, 3.0):
        d, y, x = rng.uniform(0, 1, (3, size))
        expected = np.linalg.norm(np.diag(d) - scale * np.outer(y, x), 2)
        assert _decoupled._norm_by_inertia(d, scale * y, x) == pytest.approx(expected, rel=1e-12)


def test_structured_algebra_of_many_clusters_agrees(monkeypatch):
    counts = np.repeat(np.geomspace(1, 1e4, 30).round(), 3)
    dense = ufm.bias_only_thresholds(counts, 0.01).decoupling
    monkeypatch.setattr(_decoupled, "_DENSE_LIMIT", 1)
    assert ufm.bias_only_thresholds(counts, 0.01).decoupling == pytest.approx(dense, rel=1e-11)


@pytest.mark.parametrize("name", ["cifar100_lt_ir100", "places_lt"])
def test_real_lists(counts_of, name):
    counts = counts_of(name)
    found = ufm.bias_only_thresholds(counts, 0.01)
    assert found.lambda_max == pytest.approx(numpy_oracle.lambda_max(counts, 0.01), rel=1e-9)
    solution = ufm.solve(counts, 1.001 * found.decoupling, 0.01)
    assert solution.converged and not solution.Z.any()


def test_fifty_thousand_words(counts_of):
    counts = counts_of("words_en_50k")
    free = ufm.bias_only_thresholds(counts, math.inf)
    # Without a bias p is uniform, and the squares s of the singular values of (I - J/K) D^(1/2)
    # solve sum_k n_k / (n_k - s) = K; the largest one lies below the largest count.
    s = (free.lambda_max * counts.sum()) ** 2
    second, top = np.unique(counts)[-2:]
    assert second < s < top
    assert np.sum(counts / (counts - s)) == pytest.approx(counts.size, rel=1e-6)
    assert free.decoupling == free.lambda_max


def test_text_and_plain_values():
    found = ufm.bias_only_thresholds([9, 4, 4], 0.02)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["clusters"][0]["collapse"] is None
    assert told["clusters"][1]["bias_only"] == found.clusters[1].bias_only
    assert len(found.summary().splitlines()) == 4


def test_bad_input():
    with pytest.raises(ValueError, match="counts"):
        ufm.bias_only_thresholds([1, -1], 0.02)
    with pytest.raises(ValueError, match="lambda_b"):
        ufm.bias_only_thresholds([1, 2], -1)
    with pytest.raises(ValueError, match="class_weights"):
        ufm.bias_only_thresholds([1, 2], 0.1, [1.0])


def test_the_bias_alone_decides_above_the_threshold():
    problem = two_clusters((5, 5), (500, 100), 0.0051)
    solution = problem.solve(tol=1e-9)
    assert not solution.Z[:, 5:].any()
    assert solution.b[0] == pytest.approx(0.5403, abs=5.1e-5)
