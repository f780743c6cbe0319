"""`solve_many` with losses: the same solutions as `solve`, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from loss_problems import assert_optimal, loss_of, loss_problems, problem_of
from oracles.loss_oracle import LossProblem
from profiles import examples

COUNTS = [500.0] * 5 + [100.0] * 5
ARRAYS = ("objective", "dual_objective", "relative_gap", "rank", "iterations", "status")


def assert_same(batch: ufm.Batch, index: int, single: ufm.Solution) -> None:
    """The same code runs, so that not even rounding differs."""
    solution = batch[index]
    for name in ARRAYS:
        assert getattr(batch, name)[index] == getattr(solution, name) == getattr(single, name)
    assert batch.collapsed_classes[index] == single.collapsed.sum()
    assert (solution.collapsed == single.collapsed).all()
    assert solution.Z.tobytes() == single.Z.tobytes()
    assert solution.b.tobytes() == single.b.tobytes()
    assert solution.loss == single.loss and solution.method == single.method
    assert [c.threshold for c in solution.clusters] == pytest.approx(
        [c.threshold for c in single.clusters], nan_ok=True
    )
    if single.class_weights is None:
        assert solution.class_weights is None
    else:
        assert (solution.class_weights == single.class_weights).all()


@examples(25)
@given(st.lists(loss_problems(max_classes=7, smallest=1e-2), min_size=1, max_size=4))
def test_same_as_one_by_one(problems: list[LossProblem]):
    losses = [loss_of(problem) for problem in problems]
    batch = ufm.solve_many(
        [p.counts for p in problems],
        [p.lambda_z for p in problems],
        [p.lambda_b for p in problems],
        loss=losses,
        threads=2,
    )
    for index, (problem, loss) in enumerate(zip(problems, losses, strict=True)):
        single = ufm.solve(problem.counts, problem.lambda_z, problem.lambda_b, loss=loss)
        assert_same(batch, index, single)


REMEDIES = {
    "plain": None,
    "smoothing": ufm.losses.label_smoothing(0.1),
    "adjustment": ufm.losses.logit_adjustment(COUNTS),
    "cdt": ufm.losses.cdt(COUNTS, 0.3),
    "scaling": ufm.losses.vector_scaling(COUNTS, gamma=0.2, tau=0.5, class_weights=[1.0, 2.0] * 5),
    "balanced": ufm.losses.inverse_frequency(COUNTS),
}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_loss_for_each_problem(threads):
    lambdas = np.geomspace(1e-3, 8e-3, 4)
    losses = [loss for loss in REMEDIES.values() for _ in lambdas]
    batch = ufm.solve_many(COUNTS, np.tile(lambdas, 6), 0.02, loss=losses, threads=threads)
    assert batch.converged.all()
    for index, loss in enumerate(losses):
        single = ufm.solve(COUNTS, lambdas[index % 4], 0.02, loss=loss)
        assert_same(batch, index, single)
    part = batch[::3]
    assert [solution.loss.describe() for solution in part] == [
        "plain cross-entropy" if loss is None else loss.describe() for loss in losses[::3]
    ]


def test_a_loss_for_all_problems_is_optimal():
    loss = REMEDIES["scaling"]
    batch = ufm.solve_many(COUNTS, [1e-3, 3e-3], [0.02, math.inf], loss=loss, tol=1e-8)
    for index, (lambda_z, lambda_b) in enumerate(((1e-3, 0.02), (3e-3, math.inf))):
        assert_optimal(problem_of(COUNTS, lambda_z, lambda_b, loss), batch[index], 1e-8)


def test_a_loss_without_vectors_fits_any_number_of_classes():
    loss = ufm.Loss(smoothing=0.2)
    batch = ufm.solve_many([[5, 3, 3], [9, 2]], 0.05, 0.1, loss=loss)
    for index, counts in enumerate(([5, 3, 3], [9, 2])):
        assert_same(batch, index, ufm.solve(counts, 0.05, 0.1, loss=loss))
    weighted = ufm.solve_many([[5, 3, 3], [9, 2]], 0.05, 0.1, loss=[loss, None])
    assert weighted[1].loss == ufm.Loss()
    given = ufm.solve_many(COUNTS, 2e-3, 0.02, loss=loss, class_weights=[1.0, 2.0] * 5)
    expected = ufm.solve(COUNTS, 2e-3, 0.02, loss=loss, class_weights=[1.0, 2.0] * 5)
    assert_same(given, 0, expected)


def test_many_sizes_use_the_linear_algebra_of_a_solve():
    counts = np.arange(1.0, 81.0)
    loss = ufm.losses.logit_adjustment(counts)
    batch = ufm.solve_many(counts, 2e-3, 0.02, loss=loss)
    single = ufm.solve(counts, 2e-3, 0.02, loss=loss, threads=1)
    assert batch[0].linear_algebra == single.linear_algebra
    assert batch.objective[0] == pytest.approx(single.objective, rel=2e-6)
    # Classes of one size that offsets set apart.
    same = np.repeat(10.0, 80)
    offsets = ufm.Loss(offsets=np.linspace(0, 1, 80))
    batch = ufm.solve_many(same, 2e-3, 0.02, loss=offsets)
    assert batch[0].num_clusters == 80
    single = ufm.solve(same, 2e-3, 0.02, loss=offsets, threads=1)
    assert batch[0].linear_algebra == single.linear_algebra
    assert batch.objective[0] == pytest.approx(single.objective, rel=2e-6)


def test_problems_that_were_never_started():
    hard = np.linspace(1.0, 3000.0, 120) ** 2
    loss = ufm.losses.vector_scaling(hard, gamma=0.1, tau=1.0)
    batch = ufm.solve_many(
        [hard] * 3, 1e-3 / hard.sum(), 0.01, loss=loss, tol=1e-15, time_limit=0.2, threads=1
    )
    last = batch[2]
    assert last.status is ufm.Status.TIME_LIMIT and last.method == "none"
    at_zero = problem_of(hard, 1e-3 / hard.sum(), 0.01, loss)
    zero = np.zeros((120, 120))
    assert last.objective == pytest.approx(at_zero.objective(zero, zero[0]), rel=1e-12)
    assert last.dual_objective == 0.0


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"loss": "plain"}, TypeError, "^loss must be a ufm.Loss.*'plain'"),
        ({"loss": 3}, TypeError, "^loss must be a ufm.Loss.*3"),
        ({"loss": [None, "cdt"]}, TypeError, "^problem 1: loss must be.*'cdt'"),
        ({"loss": ufm.Loss(scales=[1, 2, 3])}, ValueError, "^problem 0: loss must fit.*3 .* 2 "),
        (
            {"loss": [None, ufm.Loss(offsets=[1, 2, 3])]},
            ValueError,
            "^problem 1: loss must fit the counts: its offsets have 3 entries for 2 classes",
        ),
        ({"loss": [None] * 3}, ValueError, "counts for 2, loss for 3"),
        (
            {"loss": ufm.Loss(class_weights=[1, 2]), "class_weights": [1, 1]},
            ValueError,
            "^class_weights must not be given",
        ),
        (
            {"loss": [None, ufm.Loss(class_weights=[1e308, 2])]},
            ValueError,
            "^problem 1: class_weights",
        ),
    ],
)
def test_bad_loss_is_named(changes, error, words):
    with pytest.raises(error, match=words):
        ufm.solve_many([[500, 5], [6, 2]], 0.1, 0.1, **changes)


def test_no_problems():
    assert len(ufm.solve_many([], 0.1, 0.1, loss=[])) == 0
    assert len(ufm.solve_many([], 0.1, 0.1, loss=ufm.Loss(smoothing=0.1))) == 0
