"""`solve_many`: the same solutions as `solve`, on any number of threads."""

from __future__ import annotations

import math
import pickle
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ufm
from conftest import child_environment
from oracles import numpy_oracle
from problems import Problem, assert_certified, problems, two_clusters

ARRAYS = (
    "objective",
    "dual_objective",
    "relative_gap",
    "status_code",
    "rank",
    "collapsed_classes",
    "iterations",
    "num_classes",
)


def solve_all(batch_of: list[Problem], **options) -> ufm.Batch:
    """Solve problems of differing sizes, lambdas and weights in one batch."""
    weighted = any(p.class_weights is not None for p in batch_of)
    weights = [p.class_weights or (1.0,) * len(p.counts) for p in batch_of]
    return ufm.solve_many(
        [p.counts for p in batch_of],
        [p.lambda_z for p in batch_of],
        [p.lambda_b for p in batch_of],
        class_weights=weights if weighted else None,
        **options,
    )


def two_cluster_arrays(size: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return random two-cluster problems: counts of shape (size, classes) and lambda_z."""
    rng = np.random.default_rng(size)
    levels = np.round(10 ** rng.uniform(1, 3, (size, 2)))
    counts = levels[:, (np.arange(classes) >= classes // 2).astype(int)]
    unit = np.sqrt(counts.max(axis=1)) / counts.sum(axis=1)
    return counts, unit * 10 ** rng.uniform(-2, 0.2, size)


@settings(max_examples=60)
@given(st.lists(problems(max_classes=12, max_distinct=6), min_size=1, max_size=6))
def test_same_as_solve(batch_of):
    batch = solve_all(batch_of)
    assert len(batch) == len(batch_of)
    for index, problem in enumerate(batch_of):
        single = problem.solve()
        solution = batch[index]
        # The same code runs, so that not even rounding differs.
        assert batch.objective[index] == solution.objective == single.objective
        assert batch.dual_objective[index] == single.dual_objective
        assert batch.relative_gap[index] == single.relative_gap
        assert batch.status[index] is solution.status is single.status
        assert batch.converged[index] == single.converged
        assert batch.rank[index] == solution.rank == single.rank
        assert batch.collapsed_classes[index] == single.collapsed.sum()
        assert batch.iterations[index] == single.iterations
        assert batch.method[index] == solution.method == single.method
        assert solution.linear_algebra == single.linear_algebra
        assert (solution.cluster_of == single.cluster_of).all()
        assert (solution.Z == single.Z).all() and (solution.b == single.b).all()


@given(
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.tuples(st.floats(0.0, 6.0), st.floats(0.0, 6.0)),
    st.floats(-4.0, 0.2),
    st.one_of(st.sampled_from([0.0, math.inf]), st.floats(-5.0, 2.0).map(lambda e: 10.0**e)),
    st.one_of(st.none(), st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0))),
)
def test_two_clusters_agree_with_the_general_method(sizes, logs, log_factor, lambda_b, pair):
    weights = None if pair is None else (pair[0],) * sizes[0] + (pair[1],) * sizes[1]
    problem = two_clusters(sizes, (10 ** logs[0], 10 ** logs[1]), 1.0, lambda_b).replace(
        class_weights=weights
    )
    top = numpy_oracle.lambda_max(problem.counts, lambda_b, weights)
    problem = problem.replace(lambda_z=10**log_factor * top)
    batch = solve_all([problem], tol=1e-8)
    solution = batch[0]
    assert solution.method in {"two clusters", "closed form"}
    assert_certified(problem, solution, 1e-8)
    general = problem.solve(method="factored", tol=1e-8)
    assert general.converged
    slack = solution.relative_gap + general.relative_gap + 1e-12
    assert abs(solution.objective - general.objective) <= slack * general.objective
    collapse = problem.lambda_z * sum(problem.counts) / np.sqrt(problem.counts)
    collapse /= 1.0 if weights is None else np.asarray(weights)
    clear = np.abs(collapse - 1) > 1e-9
    assert (solution.collapsed == general.collapsed)[clear].all()


@pytest.mark.parametrize(
    ("lambda_z", "objective", "own_large", "own_small", "bias"),
    [
        (0.0027, 1.4476487715, 2.2950, 1.4243, 0.3898),
        (0.0033, 1.6204672721, 1.9964, 0.3297, 0.4186),
        (0.0039, 1.7487329035, 1.6996, 0.0314, 0.4603),
        (0.0051, 1.9412208896, 1.1777, 0.0, 0.5403),
        (0.0075, 2.1086694991, 0.0, 0.0, 0.6106),
    ],
)
def test_known_numbers(lambda_z, objective, own_large, own_small, bias):
    solution = ufm.solve_many([500] * 5 + [100] * 5, [lambda_z], 0.02, tol=1e-10)[0]
    assert solution.objective == pytest.approx(objective, abs=1e-9)
    assert solution.Z[0, 0] == pytest.approx(own_large, abs=5e-5)
    assert solution.Z[9, 9] == pytest.approx(own_small, abs=5e-5)
    assert solution.b[0] == pytest.approx(bias, abs=5e-5)


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(5)
    rows = [rng.choice([500.0, 120.0, 40.0, 7.0, 1.0], size=k) for k in rng.integers(1, 30, 300)]
    rows += [np.arange(1.0, 71.0) ** 1.5, np.arange(1.0, 101.0) ** 2]  # LAPACK's share
    lambda_z = 10 ** rng.uniform(-2, 0, len(rows)) / np.sqrt([row.sum() for row in rows])
    one, *others = (ufm.solve_many(rows, lambda_z, 0.02, threads=t) for t in (1, 2, 4, None))
    for other in others:
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.method == other.method).all()
        for left, right in zip(one, other, strict=True):
            assert left.between.dense().tobytes() == right.between.dense().tobytes()
            assert left.b.tobytes() == right.b.tobytes()
            assert left.amplitudes.tobytes() == right.amplitudes.tobytes()
    for row, weight, solution in zip(rows[-2:], lambda_z[-2:], one[-2:], strict=True):
        single = ufm.solve(row, weight, 0.02)
        assert solution.linear_algebra == single.linear_algebra
        assert solution.objective == pytest.approx(single.objective, rel=2e-6)


def test_more_than_dense_clusters():
    counts = np.arange(1.0, 1801.0) ** 1.2
    batch = ufm.solve_many([counts, [5, 3]], 0.5 / counts.sum(), 0.02, tol=1e-3)
    single = ufm.solve(counts, 0.5 / counts.sum(), 0.02, tol=1e-3)
    assert batch.converged.all() and single.converged
    assert batch[0].num_nodes == single.num_nodes
    assert batch.rank[0] == single.rank
    np.testing.assert_allclose(batch[0].column(7), single.column(7), rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------------- shapes


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
    for name in ARRAYS:
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


@pytest.mark.parametrize("counts", [[[5, 3]], np.array([[5, 3]], dtype=object), [[True, True]]])
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
        ("lambda_b", [0.1, 0.0, -1e-9], 2),
        ("lambda_b", [math.inf, math.nan, 0.1], 1),
        ("class_weights", [[1, 1], [1, 0], [1, 1]], 1),
        ("class_weights", [[1, 1], [1, 1], [1]], 2),
        ("class_weights", [1, 1, 1], 0),
        ("class_weights", [[1, 1], [1e308, 1e308], [1, 1]], 1),
    ],
)
def test_bad_problem_is_named(name, value, index):
    with pytest.raises((ValueError, TypeError), match=rf"^problem {index}: .*\b{name}\b"):
        ufm.solve_many(**{**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("counts", v) for v in (None, 5, "53", [[[5, 3]]], ["5", "3"], [[5, 1j]], {"a": 5})),
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


# ---------------------------------------------------------------------- the batch as a sequence


@pytest.fixture(scope="module")
def batch() -> ufm.Batch:
    """Forty problems along lambda_z, with a few that cannot converge."""
    lambdas = np.geomspace(1e-4, 0.01, 40)
    return ufm.solve_many([500] * 4 + [100] * 3 + [20] * 2, lambdas, 0.02, max_iterations=6)


def test_iteration_and_indices(batch):
    assert [s.objective for s in batch] == batch.objective.tolist()
    assert batch[-1].lambda_z == batch.lambda_z[39] == batch[39].lambda_z
    assert batch[np.int64(3)].objective == batch.objective[3]
    for index in (40, -41):
        with pytest.raises(IndexError, match="40"):
            batch[index]
    for index in (1.5, "a", None):
        with pytest.raises(TypeError, match="index"):
            batch[index]


@pytest.mark.parametrize(
    "which", [slice(3, 30, 5), slice(None, None, -1), [7, 7, -1], [], np.arange(40) % 3 == 0]
)
def test_parts_of_a_batch(batch, which):
    part = batch[which]
    assert isinstance(part, ufm.Batch)
    chosen = np.arange(40)[which] if len(np.arange(40)[which]) else []
    assert part.objective.tolist() == batch.objective[chosen].tolist() if len(chosen) else True
    assert len(part) == len(chosen)
    for solution, index in zip(part, chosen, strict=True):
        assert solution.lambda_z == batch.lambda_z[index]
        assert (solution.Z == batch[index].Z).all()
    assert [s.name for s in part.status] == [batch.status[i].name for i in chosen]


def test_unconverged_problems_are_told(batch):
    assert 0 < batch.converged.sum() < 40
    left = batch[~batch.converged]
    assert set(left.status) == {ufm.Status.MAX_ITERATIONS}
    assert (left.relative_gap > left.tol).all() and (left.iterations <= 6).all()
    for solution in left:
        assert solution.status is ufm.Status.MAX_ITERATIONS


def test_status_codes_follow_the_documentation(batch):
    names = ("CONVERGED", "MAX_ITERATIONS", "TIME_LIMIT", "INTERRUPTED", "NUMERICAL_ERROR")
    for code, status in zip(batch.status_code, batch.status, strict=True):
        assert status is ufm.Status[names[code]]


def test_pickle(batch):
    for part in (batch, batch[5:9]):
        copy = pickle.loads(pickle.dumps(part))
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(copy, name), getattr(part, name))
        assert copy.status.tolist() == part.status.tolist()
        assert (copy[2].Z == part[2].Z).all()


def test_repr_and_table(batch):
    text = repr(batch)
    assert "40 problems" in text and f"{batch.converged.sum()} converged" in text
    table = batch.to_dict()
    assert {len(column) for column in table.values()} == {40}
    row = {key: value[12] for key, value in table.items()}
    single = batch[12].to_dict()
    for key in ("K", "lambda_z", "objective", "status", "rank", "collapsed_classes", "method"):
        assert row[key] == single[key]


# ---------------------------------------------------------------------- extremes


def test_one_class_and_one_cluster():
    batch = ufm.solve_many([[5], [5, 5, 5], [7] * 1000], 1e-4, [0.0, math.inf, 0.1], tol=1e-12)
    assert batch.converged.all()
    assert batch.objective[0] == 0.0 and batch.rank[0] == 0
    balanced = ufm.balanced_solution(3, 5, 1e-4)
    assert batch.objective[1] == pytest.approx(balanced.objective, rel=1e-13)
    np.testing.assert_allclose(batch[1].Z, balanced.Z, rtol=1e-12, atol=1e-13)
    assert batch.rank.tolist()[1:] == [2, 999] and not batch.collapsed_classes.any()


@pytest.mark.parametrize("lambda_b", [0.0, 1e-12, 1e-9, 0.02, 1e3, 1e300, math.inf])
def test_lambda_z_from_tiny_to_huge(lambda_b):
    lambdas = [1e-300, 1e-100, 1e-30, 1e-16, 1e-6, 1e-3, 1.0, 1e100, 1e300]
    for counts in ((60.0, 60.0, 5.0), (1e6, 1.0), (3.0, 3.0), (1.0,)):
        batch = ufm.solve_many(counts, lambdas, lambda_b, time_limit=20.0)
        assert np.isfinite(batch.objective).all() and np.isfinite(batch.dual_objective).all()
        for index, lambda_z in enumerate(lambdas):
            problem = Problem(counts, lambda_z, lambda_b)
            assert_certified(problem, batch[index], must_converge=False)
            if 1e-30 <= lambda_z and (lambda_b == 0 or lambda_b >= 1e-9):
                assert batch.converged[index], batch[index].summary()


@pytest.mark.parametrize("tol", [1e-14, 1e-300])
def test_unreachable_tolerance_is_no_disaster(tol):
    batch = ufm.solve_many([500] * 5 + [100] * 5, np.geomspace(1e-4, 1e-2, 9), 0.02, tol=tol)
    assert (batch.relative_gap <= 1e-12).all()


# ---------------------------------------------------------------------- running


def test_two_cluster_problems_take_microseconds():
    """Processor time, which other programs on the machine do not change; ten times the usual."""
    counts, lambda_z = two_cluster_arrays(20_000)
    ufm.solve_many(counts[:10], lambda_z[:10], 0.02)
    start = time.process_time()
    batch = ufm.solve_many(counts, lambda_z, 0.02, tol=1e-8, threads=2)
    taken = time.process_time() - start
    assert batch.converged.all() and set(batch.method) <= {"two clusters", "closed form"}
    assert taken / len(batch) < 25e-6


def test_other_threads_run_during_a_batch():
    rounds, done = 0, threading.Event()

    def count() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            time.sleep(0.001)

    counts = np.linspace(1.0, 3000.0, 150) ** 2
    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = rounds
        ufm.solve_many(
            [counts] * 4, 1e-3 / counts.sum(), 0.01, tol=1e-15, time_limit=1.0, threads=1
        )
        progress = rounds - before
    finally:
        done.set()
        thread.join()
    assert progress > 50


def test_time_limit():
    counts = np.linspace(1.0, 3000.0, 200) ** 2
    start = time.perf_counter()
    batch = ufm.solve_many(
        [counts, counts, counts, [5.0], [5.0, 3.0, 3.0], counts],
        1e-3 / counts.sum(),
        0.01,
        tol=1e-15,
        max_iterations=2**30,
        time_limit=0.5,
        threads=1,
    )
    assert time.perf_counter() - start < 5.0
    assert batch.status[0] is ufm.Status.TIME_LIMIT
    # Never started: Z = 0, with its own objective and the dual value 0.
    for index in (2, 4, 5):
        solution = batch[index]
        assert solution.status is ufm.Status.TIME_LIMIT and solution.method == "none"
        assert solution.objective == pytest.approx(math.log(solution.num_classes))
        assert solution.dual_objective == 0.0 and solution.relative_gap == 1.0
        assert not solution.Z.any() and not solution.b.any()
        assert batch.rank[index] == solution.rank == 0
        assert batch.collapsed_classes[index] == solution.collapsed.sum()
    assert batch.objective[3] == 0.0 and batch.converged[3]


INTERRUPT_SCRIPT = """
import numpy as np
import ufm
{setup}
ufm.solve_many([5, 3], 0.1, 0.1)
print("ready", flush=True)
try:
    ufm.solve_many(counts, lambda_z, 0.01, tol=1e-15, max_iterations=2**30, threads=2)
    print("not interrupted", flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""
SETUPS = {
    "few hard": "counts = [np.linspace(1.0, 3000.0, 300) ** 2] * 50\n"
    "lambda_z = 1e-3 / counts[0].sum()",
    "many easy": "counts = [60.0, 60.0, 5.0, 3.0]\nlambda_z = np.geomspace(1e-6, 1e-3, 400_000)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child process on Windows")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_interrupt_signal_stops_the_batch(setup):
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPT_SCRIPT.format(setup=setup)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "ready"
            time.sleep(1.0)
            assert child.poll() is None, "the batch was not long enough to interrupt"
            sent = time.perf_counter()
            child.send_signal(signal.SIGINT)
            outcome = child.stdout.readline().strip()
            taken = time.perf_counter() - sent
            child.wait(timeout=30)
        finally:
            if child.poll() is None:
                child.kill()
    assert outcome == "KeyboardInterrupt"
    assert taken < 2.0


def test_batches_in_several_threads_at_once():
    counts, lambda_z = two_cluster_arrays(500)
    expected = ufm.solve_many(counts, lambda_z, 0.02)
    results: list[ufm.Batch] = []
    threads = [
        threading.Thread(target=lambda: results.append(ufm.solve_many(counts, lambda_z, 0.02)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result.objective, expected.objective)
