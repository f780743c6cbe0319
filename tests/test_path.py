"""`ufm.path`: solutions along lambda_z, and rank events where theory puts them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from profiles import examples


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Collapse thresholds from Hong and Ling; the middle one computed apart from this project.
        ([500] * 5 + [100] * 5, [(0.0033333, 9, 5), (0.003983, 5, 4), (0.0074536, 4, 0)]),
        ([500] * 3 + [100] * 7, [(0.0045455, 9, 3), (0.006407, 3, 2), (0.0101639, 2, 0)]),
    ],
)
def test_two_clusters(counts, expected):
    path = ufm.path(counts, lambda_b=0.02, accuracy=1e-6)
    assert path.converged
    assert [event.kind for event in path.events] == ["collapse", "bias_only", "zero"]
    assert [event.clusters for event in path.events] == [(1,), (), (0,)]
    for event, (lambda_z, below, above) in zip(path.events, expected, strict=True):
        assert event.lambda_z == pytest.approx(lambda_z, rel=1e-4)
        assert (event.rank_below, event.rank_above) == (below, above)
        assert event.upper <= event.lower * (1 + 1e-6)
        if event.kind != "bias_only":
            assert event.lambda_z == pytest.approx(event.predicted, rel=2e-6)


@examples(10)
@given(
    clusters=st.lists(
        st.tuples(st.integers(1, 400), st.integers(2, 5)),
        min_size=1, max_size=3, unique_by=lambda item: item[0],
    ),
    lambda_b=st.sampled_from([0.005, 0.1, math.inf]),
)  # fmt: skip
def test_every_cluster_collapses_where_it_must(clusters, lambda_b):
    counts = np.repeat([float(n) for n, _ in clusters], [k for _, k in clusters])
    path = ufm.path(counts, lambda_b=lambda_b, num=20, accuracy=1e-5)
    merged = {cluster: event for event in path.events for cluster in event.clusters}
    ordered = sorted(clusters, reverse=True)
    assert set(merged) == set(range(len(clusters)))
    for cluster, (n, _) in enumerate(ordered):
        event = merged[cluster]
        threshold = math.sqrt(n) / counts.sum()
        assert event.lower * (1 - 1e-6) <= threshold <= event.upper * (1 + 1e-6)
    ranks = [path.rank[0], *(event.rank_above for event in path.events)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[1:-1] == [event.rank_below for event in path.events][1:]
    assert ranks[0] == counts.size - 1 and ranks[-1] == 0


def test_class_weights_let_the_majority_merge_first():
    path = ufm.path([500] * 5 + [100] * 5, lambda_b=0.02, class_weights=[0.2] * 5 + [1.0] * 5)
    first = path.events[0]
    assert (first.kind, first.clusters) == ("collapse", (0,))
    assert first.lambda_z == pytest.approx(0.2 * math.sqrt(500) / 3000, rel=1e-4)


def test_distinct_counts_lose_one_dimension_at_a_time():
    counts = [3000, 900, 250, 70, 20]
    path = ufm.path(counts, lambda_b=0.02, num=25)
    assert [event.rank_below - event.rank_above for event in path.events] == [1] * 4
    last = path.events[-1]
    assert last.kind == "zero"
    assert last.lambda_z == pytest.approx(ufm.thresholds(counts, 0.02).lambda_max, rel=2e-4)
    # Each side of each event, solved afresh, has the rank that is claimed.
    for event in path.events:
        for lambda_z, rank in ((event.lower, event.rank_below), (event.upper, event.rank_above)):
            assert ufm.solve(counts, lambda_z, 0.02, tol=1e-9).rank == rank


def test_given_values():
    lambdas = [0.005, 0.001, 0.003]
    path = ufm.path([500] * 5 + [100] * 5, lambda_b=0.02, lambda_z=lambdas, events=False)
    np.testing.assert_array_equal(path.lambda_z, sorted(lambdas))
    assert path.events == () and path.num_solves == len(path) == 3
    for lambda_z, objective in zip(path.lambda_z, path.objective, strict=True):
        known = ufm.solve([500] * 5 + [100] * 5, lambda_z, 0.02).objective
        assert objective == pytest.approx(known, rel=2e-6)


def test_text():
    path = ufm.path([500] * 5 + [100] * 5, lambda_b=0.02)
    assert "3 events" in repr(path)
    lines = path.summary().splitlines()
    assert len(lines) == 4 and "9 -> 5" in lines[1] and "0.003333333" in lines[1]


@pytest.mark.slow
def test_a_hundred_classes():
    counts = np.floor(500 * 100.0 ** (-np.arange(100) / 99))
    path = ufm.path(counts, lambda_b=0.02, num=8, accuracy=0.03, tol=1e-8)
    assert path.converged
    assert path.rank[0] == 99 and path.rank[-1] == 0
    drops = [event.rank_below - event.rank_above for event in path.events]
    assert sum(drops) == 99
    for event in path.events:
        for cluster in event.clusters:
            known = path.thresholds.clusters[cluster].collapse
            assert event.lower * (1 - 1e-6) <= known <= event.upper * (1 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"counts": [1, -1]}, ValueError, "counts"),
        ({"lambda_b": -1}, ValueError, "lambda_b"),
        ({"lambda_z": [0.1]}, ValueError, "lambda_z"),
        ({"lambda_z": [0.1, 0.1]}, ValueError, "lambda_z"),
        ({"lambda_z": [0.1, 0.0]}, ValueError, "lambda_z"),
        ({"counts": [5]}, ValueError, "lambda_z"),
        ({"num": 1}, ValueError, "num"),
        ({"num": 2.5}, TypeError, "num"),
        ({"tol": 0}, ValueError, "tol"),
        ({"accuracy": 1e-12}, ValueError, "accuracy"),
        ({"class_weights": [1]}, ValueError, "class_weights"),
    ],
)
def test_bad_input(changes, error, word):
    arguments = {"counts": [5, 3], "lambda_b": 0.02, **changes}
    with pytest.raises(error, match=word):
        ufm.path(arguments.pop("counts"), **arguments)
