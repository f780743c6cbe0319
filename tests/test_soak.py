"""The soak's own judge: it agrees with the dense oracles, and it notices every kind of lie."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ufm
from conftest import ROOT, child_environment
from oracles import loss_oracle, numpy_oracle
from oracles.blockwise_oracle import Oracle
from soak.check import Problem, check_solution, clusters_of, extended_dual
from soak.draw import draw_counts, draw_loss, draw_problem, thresholds_of
from soak.kinds import KINDS
from soak.record import slope_of

ALLOWED = frozenset({"TIME_LIMIT"})


def solved(problem: Problem, **options) -> ufm.Solution:
    return ufm.solve(
        problem.counts, problem.lambda_z, problem.lambda_b, loss=problem.loss, **options
    )


@pytest.mark.parametrize("seed", range(12))
def test_blockwise_oracle_agrees_with_the_dense_one(seed):
    """At early iterates too, where nothing hides a wrong formula."""
    rng = np.random.default_rng(seed)
    problem = draw_problem(rng, int(rng.integers(2, 6)), 9, ratio=50.0, low=0.1, zero_bias=False)
    solution = solved(problem, method="proximal", max_iterations=1 + 5 * seed, tol=1e-12)
    at, _ = clusters_of(problem, solution)
    oracle = Oracle(at)
    dense = numpy_oracle.certificate(
        solution.Z, solution.b, problem.counts, problem.lambda_z, problem.lambda_b, problem.weights
    )
    nuclear = oracle.nuclear_norm()
    plain = oracle.plain_point()
    norm, _ = oracle.norm(plain)
    scale = min(1.0, problem.lambda_z / norm)
    assert scale == pytest.approx(dense.scale, rel=1e-10)
    primal = oracle.primal(problem.lambda_z, problem.lambda_b, nuclear)
    assert primal == pytest.approx(dense.primal, rel=1e-12)
    dual = oracle.dual_value(plain, scale, problem.lambda_b)
    assert dual == pytest.approx(dense.dual, rel=1e-9, abs=1e-9 * primal)
    both = oracle.certificate(problem.lambda_z, problem.lambda_b, nuclear)
    assert dual - 1e-12 * primal <= both.dual <= solved(problem, tol=1e-9).objective * (1 + 1e-12)
    if math.isfinite(problem.lambda_b):  # the repaired point meets the bias equation
        repaired = oracle.repaired_point(problem.lambda_b)
        assert (repaired.miss >= -1e-15).all() and (repaired.miss <= 1 + 1e-12).all()


@pytest.mark.parametrize("seed", range(12))
def test_blockwise_oracle_agrees_on_every_loss(seed):
    rng = np.random.default_rng(100 + seed)
    counts = draw_counts(rng, 4, 8, 30.0)
    loss = draw_loss(rng, counts)
    plain = Problem(counts, 1.0, 0.05, loss)
    problem = Problem(counts, 0.3 * float(thresholds_of(plain).min()), 0.05, loss)
    solution = solved(problem, method="proximal", max_iterations=4, tol=1e-12)
    oracle = Oracle(clusters_of(problem, solution)[0])
    dense = loss_oracle.LossProblem(
        counts, problem.lambda_z, 0.05, loss.smoothing, loss.scales, loss.offsets,
        loss.class_weights,
    )  # fmt: skip
    certificate = dense.certificate(solution.Z, solution.b)
    point = oracle.plain_point()
    norm, _ = oracle.norm(point)
    dual = oracle.dual_value(point, min(1.0, problem.lambda_z / norm), 0.05)
    assert oracle.nuclear_norm() == pytest.approx(dense.nuclear_norm(solution.Z), rel=1e-12)
    assert oracle.loss == pytest.approx(dense.loss(solution.Z, solution.b), rel=1e-12)
    assert dual == pytest.approx(certificate.dual, rel=1e-9, abs=1e-10)


def test_many_clusters_by_bounds_and_probes(monkeypatch):
    """The ways for many clusters say the same on a case that both can do."""
    counts = np.linspace(1.0, 900.0, 620) ** 1.3
    problem = Problem(counts, 0.7 * math.sqrt(counts.min()) / counts.sum(), 0.01)
    solution = solved(problem)
    assert solution.converged
    oracle = Oracle(clusters_of(problem, solution)[0])
    point = oracle.plain_point()
    proved, excess = oracle.norm(point)
    truth = float(np.linalg.norm(oracle.gradient(point), 2))
    assert truth <= proved <= truth * (1 + 2 * excess + 1e-12) and excess <= 1e-6
    assert truth * (1 - 1e-3) <= oracle._probed_norm(point) <= truth * (1 + 1e-12)
    below = oracle.nuclear_norm_below(point, truth)
    assert oracle.nuclear_norm() * (1 - 1e-4) <= below <= oracle.nuclear_norm() * (1 + 1e-12)
    monkeypatch.setattr("soak.check.DENSE_NUCLEAR_NORM", 100)
    assert not check_solution("test", problem, solution, allowed=ALLOWED).faults
    streamed = Oracle(oracle.at)
    streamed._kept = None
    assert streamed.loss == oracle.loss and streamed.norm(point)[0] == proved


def lies(solution: ufm.Solution) -> dict[str, dict[str, object]]:
    """Claims that a solution does not bear out."""
    objective, dual = solution.objective, solution.dual_objective
    wrong = solution.amplitudes.copy()
    wrong[np.argmax(solution.multiplicity)] += 0.1
    return {
        "objective too low": {"objective": objective * (1 - 1e-7)},
        "objective too high": {"objective": objective * 1.001},
        "dual too high": {"dual_objective": dual + 1e-7 * objective, "relative_gap": 0.0},
        "gap too small": {"relative_gap": 0.1 * solution.relative_gap},
        "not converged": {"status": ufm.Status.NUMERICAL_ERROR},
        "early": {"status": ufm.Status.INTERRUPTED},
        "not finite": {"scaled_bias": np.full_like(solution.scaled_bias, np.nan)},
        "another Z": {"amplitudes": wrong},
        "another b": {"scaled_bias": solution.scaled_bias + 0.01},
        "another problem": {"counts": solution.counts * 1.01},
    }


@pytest.mark.parametrize("lie", lies(ufm.solve([60, 60, 20, 5, 5, 1], 0.01, 0.02)))
def test_every_lie_is_noticed(lie):
    problem = Problem(np.array([60.0, 60.0, 20.0, 5.0, 5.0, 1.0]), 0.004, 0.02)
    solution = solved(problem, tol=1e-5, method="proximal")
    assert solution.converged and solution.relative_gap > 1e-8
    assert not check_solution("test", problem, solution, allowed=ALLOWED).faults
    if lie == "another problem":
        problem = replace(problem, lambda_z=problem.lambda_z * 1.001)
        told = solution
    else:
        told = replace(solution, **lies(solution)[lie])
    assert check_solution("test", problem, told, allowed=ALLOWED).faults


def test_wrong_verdicts_are_noticed():
    problem = Problem(np.repeat([50.0, 5.0], 3), 1.2 * math.sqrt(5.0) / 165, 0.02)
    solution = solved(problem)
    assert solution.collapsed.tolist() == [False] * 3 + [True] * 3
    assert not check_solution("test", problem, solution, allowed=ALLOWED).faults
    alive = replace(solution, amplitudes=np.maximum(solution.amplitudes, 1e-13))
    assert "clusters merge" in str(check_solution("test", problem, alive, allowed=ALLOWED).faults)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision here")
def test_judges_own_rounding_is_told_from_a_lie():
    """Counts and weights ten orders of magnitude apart, no bias penalty."""
    heavy = np.array([0, 1, 0, 1, 1, 0, 0, 0], dtype=bool)
    problem = Problem(
        np.where(
            heavy, float.fromhex("0x1.0fd9b51eb8a16p+1"), float.fromhex("0x1.7511293256392p+36")
        ),
        float.fromhex("0x1.4210c2b244c04p-31"),
        0.0,
        ufm.Loss(
            class_weights=np.where(
                heavy, float.fromhex("0x1.b724d6094d7a0p+34"), float.fromhex("0x1.40000000117d0p-1")
            )
        ),
    )
    solution = solved(problem, method="factored")
    assert not check_solution("test", problem, solution, allowed=ALLOWED).faults
    lie = solution.dual_objective + 1e-10 * solution.objective
    raised = replace(
        solution,
        dual_objective=lie,
        relative_gap=max(solution.objective - lie, 0.0) / solution.objective,
    )
    assert check_solution("test", problem, raised, allowed=ALLOWED).faults


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision here")
@pytest.mark.parametrize("seed", range(9))
def test_extended_dual_is_the_dense_oracles(seed):
    rng = np.random.default_rng(seed)
    counts = np.sort(rng.integers(3, 500, 6)).astype(float)
    lambda_z = rng.uniform(0.1, 3.0) * math.sqrt(counts[0]) / counts.sum()
    problem = Problem(counts, float(lambda_z), 0.0)
    solution = solved(problem, tol=1e-9)
    dense = numpy_oracle.certificate(
        solution.Z, solution.b, counts, problem.lambda_z, 0.0, problem.weights
    )
    value = extended_dual(problem, solution)
    assert value == pytest.approx(dense.dual, rel=1e-9)
    assert value <= solution.objective * (1 + 1e-13)


@pytest.mark.parametrize(
    "kind",
    [name for name in KINDS if name not in ("many sizes", "medium", "narrow", "groups of sizes")],
)
def test_a_few_draws_of_each_kind(kind):
    for number in range(3):
        rng = np.random.default_rng([7, number])
        for result in KINDS[kind].run(rng):
            assert not result.faults, result


def test_growing_memory_is_told_from_large_problems():
    time_ = np.arange(1000.0)
    noise = np.random.default_rng(0).normal(size=1000)
    peaks = np.where(np.arange(1000) % 50 == 0, 300.0, 0.0)
    assert abs(slope_of(np.column_stack([time_, 100 + noise + peaks]))) * 1000 < 2.0
    leaking = slope_of(np.column_stack([time_, 100 + 0.1 * time_ + noise + peaks]))
    assert leaking * 1000 == pytest.approx(100.0, rel=0.1)


def test_a_short_soak_from_the_command_line(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "summary.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", "0.03", "--seed", "3", "--only", "losses",
         "--out", str(out)],
        cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert summary["wrong"] == 0 and summary["checked"] > 3 and summary["memory"]["flat"]
    assert sum(summary["status"].values()) == summary["checked"]
    assert Path(tmp_path / "summary.png").stat().st_size > 10_000
