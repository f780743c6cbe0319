"""Hundreds of thousands of classes in a few clusters: no K x K array is ever made."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import ufm
from oracles import grouped_oracle
from problems import Problem, assert_certified, certify
from soak.check import Problem as JudgedProblem
from soak.check import check_solution

HUGE = (300_000, (100_000, 120_000, 80_000), (500.0, 60.0, 7.0))

MEMORY_SCRIPT = """
import json, resource, sys, tracemalloc
import numpy as np
import ufm
ufm.solve([3, 2, 2], 0.01, 0.01)  # load everything that loads lazily
counts = np.repeat([500.0, 60.0, 7.0], [100_000, 120_000, 80_000])
unit = 1024 if sys.platform != "darwin" else 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
tracemalloc.start()
solution = ufm.solve(counts, 1e-9, 0.01)
column, entry, rank = solution.column(5), solution.entry(5, 299_999), solution.rank
solution.clusters, solution.blocks, solution.collapsed, solution.summary(), repr(solution)
traced = tracemalloc.get_traced_memory()[1]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"traced": traced, "resident": after - before, "status": solution.status.name}))
"""


def huge_counts() -> np.ndarray:
    _, sizes, counts = HUGE
    return np.random.default_rng(0).permutation(np.repeat(counts, sizes))


@pytest.mark.parametrize("lambda_b", [0.01, math.inf])
@pytest.mark.parametrize("above", [1e-6, 1e-3, 0.0095])
@pytest.mark.parametrize("spread", [1e-3, 0.024, 0.3])
def test_gap_of_counts_that_hardly_differ(spread, above, lambda_b):
    """Few nodes for hundreds of counts, and amplitudes that start from zero."""
    counts = np.linspace(1000.0, 1000.0 * (1.0 + spread), 299)
    problem = Problem(tuple(counts), (1.0 + above) * math.sqrt(1000.0) / counts.sum(), lambda_b)
    assert_certified(problem, problem.solve(tol=1e-8, method="continuum"), 1e-8)


@pytest.mark.parametrize("multiple", [1.3, 2.0])
@pytest.mark.parametrize("shape", ["geometric", "zipf"])
def test_fewer_nodes_next_to_a_threshold_where_the_tolerance_allows(shape, multiple):
    """The single classes next to a threshold matter by a tenth of 1 / K at most."""
    ranks = np.linspace(0.0, 1.0, 1000)
    ratio = 250.0 ** -(1.0 + ranks) if shape == "geometric" else 1.0 / (1.0 + 249.0 * ranks)
    counts = 1e4 * ratio / ratio.min()
    problem = Problem(tuple(counts), multiple * 100.0 / counts.sum(), 0.01)
    loose = problem.solve(tol=2e-4, method="continuum")
    tight = problem.solve(tol=2e-5, method="continuum")
    for solution in (loose, tight):
        assert solution.converged and solution.method == "continuum"
        assert certify(problem, solution).relative_gap <= solution.relative_gap
    assert 0 < loose.num_nodes < tight.num_nodes


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("lambda_b", [1e-4, 0.05, math.inf])
@pytest.mark.parametrize(
    "counts",
    [
        np.linspace(1e4, 1e5, 1000),
        np.geomspace(100.0, 1600.0, 301),
        1e4 / np.linspace(1.0, 1.0 / 16.0, 601),
    ],
    ids=["even", "geometric", "zipf"],
)
def test_a_class_at_its_threshold(counts, lambda_b, tol):
    """Its amplitude starts there, and it answers to its neighbours one by one."""
    assert np.abs(counts / counts.min() - 4.0).min() < 1e-12
    problem = Problem(tuple(counts), 2.0 * math.sqrt(counts.min()) / counts.sum(), lambda_b)
    solution = problem.solve(tol=tol, method="continuum")
    assert solution.converged and solution.method == "continuum" and solution.num_nodes < 100
    assert certify(problem, solution).relative_gap <= solution.relative_gap * (1 + 1e-6) + 1e-13


@pytest.mark.parametrize("lambda_b", [1e-9, 1e-4])
def test_hardly_regularised_bias_with_a_threshold_inside(lambda_b):
    counts = np.arange(1000.0, 3200.0)
    judged = JudgedProblem(counts, 1.2 * math.sqrt(counts.min()) / counts.sum(), lambda_b)
    solution = ufm.solve(counts, judged.lambda_z, lambda_b)
    assert solution.converged and solution.method == "continuum"
    assert check_solution("", judged, solution, allowed=frozenset()).faults == []
    # The optimum without regularisation is no larger, and all but equal at 1e-9.
    free = ufm.solve(counts, judged.lambda_z, 0.0)
    assert free.converged and free.method == "continuum"
    assert free.dual_objective <= solution.objective
    if lambda_b == 1e-9:
        assert free.objective >= solution.dual_objective * (1 - 1e-6)


@pytest.mark.parametrize("lambda_b", [1e-3, math.inf])
@pytest.mark.parametrize("multiple", [0.02, 0.5, 2.0, 30.0])
def test_gap_of_thousands_of_different_counts(multiple, lambda_b):
    """More than are ever held as a matrix, some of them several times, from 3 to 30,000."""
    rng = np.random.default_rng(7)
    counts = np.repeat(3.0 * 10_000.0 ** np.sort(rng.random(1700)), rng.integers(1, 9, 1700))
    judged = JudgedProblem(counts, multiple * math.sqrt(counts.min()) / counts.sum(), lambda_b)
    solution = ufm.solve(counts, judged.lambda_z, lambda_b)
    assert solution.converged and solution.method == "continuum"
    result = check_solution("", judged, solution, allowed=frozenset())
    assert result.faults == [] and result.proof.startswith("proved")


@pytest.mark.parametrize("multiple", [0.02, 0.5, 30.0])
def test_unregularised_bias_of_thousands_of_different_counts(multiple):
    """Interpolation leaves every class's bias equation unsolved; the certificate repairs it."""
    rng = np.random.default_rng(7)
    counts = np.repeat(3.0 * 10_000.0 ** np.sort(rng.random(2500)), rng.integers(1, 9, 2500))
    judged = JudgedProblem(counts, multiple * math.sqrt(counts.min()) / counts.sum(), 0.0)
    solution = ufm.solve(counts, judged.lambda_z, 0.0, tol=1e-4)
    assert solution.converged and solution.method == "continuum" and solution.num_nodes < 150
    result = check_solution("", judged, solution, allowed=frozenset())
    assert result.faults == []
    optimum = ufm.solve(counts, judged.lambda_z, 1e-9, tol=1e-6)
    assert solution.dual_objective <= optimum.objective


def grouped_counts(groups, width, each, seed):
    rng = np.random.default_rng(seed)
    spread = width * np.sort(rng.uniform(size=(len(groups), each)), axis=1)
    return np.unique(np.asarray(groups)[:, None] * (1.0 + spread))


@pytest.mark.parametrize("lambda_b", [1e-6, 1e-2])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("groups", "width", "each"),
    [((1000.0, 3600.0), 1e-4, 800), ((1000.0, 1290.0), 1.4e-4, 800), ((1000.0, 5000.0), 1e-3, 800)],
)
def test_value_of_counts_in_groups(groups, width, each, seed, lambda_b):
    """All merged, so that the value is one sum; nodes within groups, nothing between."""
    counts = grouped_counts(groups, width, each, seed)
    lambda_z = 1.2 * math.sqrt(counts.max()) / counts.sum()
    solution = ufm.solve(counts, lambda_z, lambda_b, tol=1e-8)
    assert solution.converged and not solution.between.dense().any()
    b = solution.b.astype(np.longdouble)
    log_sum = np.log(np.exp(b - b.max()).sum()) + b.max()
    true = float((counts / counts.sum() * (log_sum - b)).sum() + lambda_b / 2 * (b**2).sum())
    assert solution.objective >= true * (1 - 1e-11)
    assert solution.dual_objective <= true * (1 + 1e-11)


@pytest.mark.parametrize("max_iterations", [1, 2, None])
@pytest.mark.parametrize("width", [1e-9, 1e-7, 1e-5])
def test_gap_of_counts_in_very_tight_groups(width, max_iterations):
    counts = grouped_counts((1000.0, 20_000.0), width, 140, 49)
    problem = JudgedProblem(counts, 2.27 * math.sqrt(1000.0) / counts.sum(), 0.01)
    solution = ufm.solve(
        counts, problem.lambda_z, 0.01, tol=1e-3, method="continuum", max_iterations=max_iterations
    )
    result = check_solution("", problem, solution, allowed=frozenset({"MAX_ITERATIONS"}))
    assert result.faults == []
    assert solution.objective >= result.primal * (1 - 1e-11)


@pytest.mark.parametrize("groups", [(1000.0,), (1000.0, 100_000.0)])
@pytest.mark.parametrize("width", [1e-12, 1e-11, 1e-10])
@pytest.mark.parametrize("multiple", [0.5, 1.5])
def test_counts_whose_logarithms_coincide(groups, width, multiple):
    counts = grouped_counts(groups, width, 1600 // len(groups), 5)
    lambda_z = multiple * math.sqrt(counts.max()) / counts.sum()
    solution = ufm.solve(counts, lambda_z, 1e-2, method="continuum", tol=1e-4)
    # The same as if the counts of a group were one.
    alike = ufm.solve(np.round(counts, -2), lambda_z, 1e-2, tol=1e-9)
    assert solution.converged
    assert solution.objective == pytest.approx(alike.objective, rel=2e-4)


@pytest.mark.parametrize("multiple", [0.5, 2.0])
def test_100_000_different_counts(multiple):
    counts = 10.0 * 250.0 ** np.linspace(1.0, 0.0, 100_000)
    solution = ufm.solve(counts, multiple * np.sqrt(10.0) / counts.sum(), 0.01)
    assert solution.converged and solution.num_clusters == counts.size
    column = solution.column(50_000)
    assert column.argmax() == 50_000
    assert abs(column.sum()) < 1e-9 * np.abs(column).sum()


def test_three_clusters_of_300_000_classes():
    counts = huge_counts()
    lambda_z = 0.5 * np.sqrt(7.0) / counts.sum()
    solution = ufm.solve(counts, lambda_z, 0.01)
    assert solution.converged
    assert solution.seconds < 10.0
    assert len(solution.clusters) == 3
    assert solution.b.shape == solution.collapsed.shape == counts.shape
    assert solution.rank == counts.size - 1
    column = solution.column(17)
    assert column.shape == counts.shape
    assert abs(column.sum()) < 1e-9 * np.abs(column).sum()
    for j in (0, 17, 299_999):
        assert solution.entry(j, 17) == column[j]
    assert column.argmax() == 17


@pytest.mark.parametrize("lambda_b", [0.01, math.inf])
@pytest.mark.parametrize("fraction", [1e-3, 0.5, 5.0])
def test_gap_of_300_000_classes_is_what_it_claims(fraction, lambda_b):
    """Three columns tell the whole solution; its gap is recomputed from them."""
    _, sizes, counts = HUGE
    classes = np.repeat(counts, sizes)
    lambda_z = fraction * np.sqrt(7.0) / classes.sum()
    solution = ufm.solve(classes, lambda_z, lambda_b)
    assert solution.converged
    first = np.array([0, sizes[0], sizes[0] + sizes[1]])
    other = np.array([[solution.entry(j + 1, k) for k in first] for j in first])
    blocks = grouped_oracle.Blocks(
        np.array([solution.entry(k, k) for k in first]),
        other,
        solution.b[first],
        np.array(counts),
        np.array(sizes, dtype=float),
    )
    certificate = grouped_oracle.certificate(blocks, lambda_z, lambda_b)
    assert solution.objective == pytest.approx(certificate.primal, rel=1e-10)
    assert solution.relative_gap >= certificate.relative_gap - 1e-11
    assert certificate.relative_gap <= 1e-6 + 1e-11


def test_memory_stays_linear_in_the_number_of_classes(run_python):
    pytest.importorskip("resource")
    done = run_python(MEMORY_SCRIPT)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "CONVERGED"
    # 300,000 squared doubles are 720 GB; a hundred vectors of that length are 240 MB.
    assert report["traced"] < 240e6
    assert report["resident"] < 300e6


def test_dense_matrix_that_cannot_fit_raises_with_advice():
    solution = ufm.solve(huge_counts(), 1e-9, 0.01)
    with pytest.raises(MemoryError, match=r"column|entry|blocks"):
        _ = solution.Z
    assert solution.entry(0, 0) > 0  # the solution remains usable


def test_other_large_results_answer_or_refuse():
    solution = ufm.solve(huge_counts(), 1e-9, 0.01)
    with pytest.raises(MemoryError, match=r"\w"):
        solution.factors()
    values = solution.singular_values
    assert 1 <= values.size <= solution.counts.size
    assert (np.diff(values) <= 0).all()
    assert not solution.collapsed.all()


@pytest.mark.parametrize("factor", [1.0005, 1.5])
def test_zero_is_the_solution_of_very_many_sizes(factor):
    """Above lambda_max nothing is left to interpolate but the bias."""
    counts = np.linspace(3.0, 8880.0, 1700)
    lambda_z = factor * ufm.thresholds(counts, 0.0123).lambda_max
    solution = ufm.solve(counts, lambda_z, 0.0123, time_limit=30.0)
    assert solution.converged and solution.rank == 0
    assert not solution.column(0).any() and not solution.column(1699).any()
    # One convex problem in the bias alone, by its stationarity.
    p = np.exp(solution.b - solution.b.max())
    residual = p / p.sum() - counts / counts.sum() + 0.0123 * solution.b
    assert np.abs(residual).max() < 1e-9
