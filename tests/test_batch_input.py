"""What `solve_many` accepts: broadcasting, ragged rows, and messages that name the problem."""

from __future__ import annotations

import math
import pickle
import time
from fractions import Fraction

import numpy as np
import pytest

import ufm


def test_everything_broadcasts():
    counts = np.array([[5.0, 3.0, 3.0], [7.0, 7.0, 2.0]])
    lambdas = [0.01, 0.02]
    assert len(ufm.solve_many(counts, 0.01, 0.1)) == 2
    assert len(ufm.solve_many(counts, lambdas, math.inf)) == 2
    assert len(ufm.solve_many(counts[0], lambdas, 0.1)) == 2
    assert len(ufm.solve_many(counts[:1], lambdas, [0.1])) == 2
    assert len(ufm.solve_many(counts[0], 0.01, 0.1)) == 1
    assert len(ufm.solve_many(counts[0], 0.01, lambdas)) == 2
    weighted = ufm.solve_many(counts[0], lambdas, 0.1, class_weights=counts)
    expected = ufm.solve(counts[0], lambdas[1], 0.1, class_weights=counts[1])
    assert weighted[1].objective == weighted.objective[1] == expected.objective
    shared = ufm.solve_many(counts, lambdas, 0.1, class_weights=[1, 2, 3])
    expected = ufm.solve(counts[1], lambdas[1], 0.1, class_weights=[1, 2, 3])
    assert shared.objective[1] == expected.objective
    assert shared[1].class_weights.tolist() == [1, 2, 3]


def test_shared_counts_are_as_good_as_repeated_ones():
    counts, lambdas = [500] * 5 + [100] * 5, np.geomspace(1e-4, 1e-2, 50)
    shared = ufm.solve_many(counts, lambdas, 0.02)
    repeated = ufm.solve_many([counts] * 50, lambdas, 0.02)
    for name in ("objective", "dual_objective", "status_code", "rank", "iterations"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(repeated, name))


@pytest.mark.parametrize(
    "rows",
    [
        [[5, 3], [5, 3, 1]],
        ([5.0], np.array([5, 3], dtype=np.int16), (2, 2, 2)),
        np.array([np.array([5, 3]), np.array([4])], dtype=object),
        [[Fraction(5, 2), 3], [Fraction(1, 3)]],
    ],
)
def test_ragged_rows(rows):
    batch = ufm.solve_many(rows, 0.02, 0.1)
    assert batch.num_classes.tolist() == [len(row) for row in rows]
    for solution, row in zip(batch, rows, strict=True):
        single = ufm.solve([float(n) for n in row], 0.02, 0.1)
        assert solution.objective == single.objective
        assert solution.counts.tolist() == [float(n) for n in row]


@pytest.mark.parametrize("counts", [[[5, 3]], np.array([[5, 3]], dtype=object)])
def test_numbers_of_every_kind(counts):
    batch = ufm.solve_many(counts, np.float32(0.125), Fraction(1, 8))
    assert batch.objective[0] == ufm.solve(np.ravel(counts).astype(float), 0.125, 0.125).objective


@pytest.mark.parametrize("counts", [[], np.empty((0, 4)), np.empty(0), ()])
def test_empty_batch(counts):
    batch = ufm.solve_many(counts, 0.1, 0.1)
    assert len(batch) == 0 and list(batch) == []
    assert batch.objective.shape == batch.status.shape == batch.rank.shape == (0,)
    assert len(ufm.solve_many([5, 3], [], 0.1)) == 0
    assert "no problems" in repr(batch)
    assert len(pickle.loads(pickle.dumps(batch))[:]) == 0


def test_input_is_copied():
    counts = np.array([[5.0, 3.0], [4.0, 4.0]])
    batch = ufm.solve_many(counts, 0.02, 0.1)
    counts[:] = -1.0
    assert batch[0].counts.tolist() == [5.0, 3.0]


# ---------------------------------------------------------------------- bad input

GOOD = {"counts": [[5, 3], [4, 4], [6, 2]], "lambda_z": 0.02, "lambda_b": 0.1}


@pytest.mark.parametrize(
    ("name", "value", "index"),
    [
        ("counts", [[5, 3], [4, 4], [6, -2]], 2),
        ("counts", [[5, 3], [4, math.nan], [6, 2]], 1),
        ("counts", [[5, 3], [4], [math.inf]], 2),
        ("counts", [[5, 3], [], [4]], 1),
        ("counts", [[5, 3], [[4, 4]], [6, 2, 1]], 1),
        ("counts", [[5, 3], ["x"], [6, 2, 1]], 1),
        ("counts", [[5, 3], [None], [6, 2, 1]], 1),
        ("counts", [[5, 3], [[1], [2, 3]], [6]], 1),
        ("counts", [[1e308, 1e308], [5, 3], [5, 3]], 0),
        ("lambda_z", [0.1, 0.0, 0.1], 1),
        ("lambda_z", [0.1, 0.1, math.inf], 2),
        ("lambda_z", [math.nan, 0.1, 0.1], 0),
        ("lambda_z", [0.1, 1e-310, 0.1], 1),
        ("counts", [[5, 3], [True], [6, 2, 1]], 1),
        ("lambda_b", [0.1, 0.0, -1e-9], 2),
        ("lambda_b", [math.inf, math.nan, 0.1], 1),
        ("class_weights", [[1, 1], [1, 0], [1, 1]], 1),
        ("class_weights", [[1, 1], [1, 1], [1]], 2),
        ("class_weights", [1, 1, 1], 0),
        ("class_weights", [[1, 1], [1e308, 1e308], [1, 1]], 1),
        ("class_weights", [[1, 1], [1, 1], [1, 5e-324]], 2),
        ("counts", [[5, 3], [1e-300, 1e300], [5, 3]], 1),
    ],
)
def test_bad_problem_is_named(name, value, index):
    with pytest.raises((ValueError, TypeError), match=rf"^problem {index}: .*\b{name}\b"):
        ufm.solve_many(**{**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("counts", v) for v in (None, 5, "53", [[[5, 3]]], ["5", "3"], [[5, 1j]], {"a": 5})),
        *(("counts", v) for v in ([[True, True]], [[10**400, 3]], [10**400, 3])),
        *(("counts", v) for v in ([5, -3], [5, math.nan], np.empty((2, 0)))),
        *(
            ("lambda_z", v)
            for v in (None, 0, -1, math.nan, "0.1", [[0.1]], ["a"], 1j, [[1], [1, 2]])
        ),
        *(("lambda_b", v) for v in (None, -1, math.nan, "0.1", [[0.1]], [None])),
        *(("class_weights", v) for v in (3, "ab", [1, -1], [1, math.nan])),
        *(("tol", v) for v in (0, math.nan, "small", None)),
        *(("max_iterations", v) for v in (0, 1.5)),
        *(("threads", v) for v in (0, -2, "all")),
        *(("time_limit", v) for v in (-1.0, math.nan, "long")),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_bad_argument_is_named(name, value):
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        ufm.solve_many(**{**GOOD, name: value})


def test_a_shared_row_blames_no_problem():
    with pytest.raises(ValueError, match=r"^counts must be positive"):
        ufm.solve_many([5, -3], [0.1, 0.2], 0.1)


@pytest.mark.parametrize("name", ["lambda_z", "lambda_b", "class_weights"])
def test_lengths_that_do_not_fit(name):
    value = [[1, 1]] * 4 if name == "class_weights" else [0.1] * 4
    with pytest.raises(ValueError, match=rf"counts for 3.*\b{name} for 4"):
        ufm.solve_many(**{**GOOD, name: value})


def test_bad_input_is_found_before_any_work():
    hard = np.arange(1.0, 3001.0)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="problem 1"):
        ufm.solve_many([hard, [5.0, -1.0]], 1e-9, 0.01, tol=1e-12)
    assert time.perf_counter() - start < 1.0
