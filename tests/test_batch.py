"""`solve_many`: the same solutions as `solve`, on any number of threads."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import Problem, assert_certified, problems, two_clusters
from profiles import examples

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


@examples(60)
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


def test_more_than_dense_clusters():
    counts = np.arange(1.0, 1801.0) ** 1.2
    batch = ufm.solve_many([counts, [5, 3]], 0.5 / counts.sum(), 0.02, tol=1e-3)
    single = ufm.solve(counts, 0.5 / counts.sum(), 0.02, tol=1e-3)
    assert batch.converged.all() and single.converged
    assert batch[0].num_nodes == single.num_nodes
    assert batch.rank[0] == single.rank
    np.testing.assert_allclose(batch[0].column(7), single.column(7), rtol=1e-6, atol=1e-9)


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
