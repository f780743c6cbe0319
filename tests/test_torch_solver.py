"""`ufm.torch.solve` gives the certified answers of `ufm.solve`, on every device and precision."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given

import ufm
from interrupted import interrupt, needs_sigint
from problems import Problem, assert_certified, problems
from profiles import examples

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")

import ufm.torch  # noqa: E402
from ufm.torch import _minimise, _spectral  # noqa: E402

CPU = torch.device("cpu")
DTYPES = [torch.float64, torch.float32]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small matrices on a busy machine: waiting threads would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here")
    return request.param


def torch_solve(problem: Problem, **options) -> ufm.Solution:
    options.setdefault("class_weights", problem.class_weights)
    return ufm.torch.solve(problem.counts, problem.lambda_z, problem.lambda_b, **options)


def weighted_problem(
    classes: int, share: float, lambda_b: float = 0.02, ratio: float = 300.0
) -> Problem:
    """Distinct counts with a random weight each; lambda_z is a share of lambda_max."""
    rng = np.random.default_rng(classes)
    counts = rng.permutation(np.geomspace(10.0, 10.0 * ratio, classes))
    weights = tuple(rng.uniform(0.3, 3.0, classes))
    top = ufm.thresholds(counts, lambda_b, weights).lambda_max
    return Problem(tuple(counts), share * top, lambda_b, weights)


def hard_problem(classes: int = 150) -> Problem:
    """Return a problem that cannot reach a tolerance of 1e-15 soon."""
    counts = np.linspace(1.0, 3000.0, classes) ** 2
    return Problem(tuple(counts), 1e-3 / counts.sum(), 0.01)


def assert_same(problem: Problem, tol: float = 1e-6, **options) -> ufm.Solution:
    """Hold the solution to its claims and to those of the compiled solver."""
    solution = torch_solve(problem, tol=tol, **options)
    assert_certified(problem, solution, tol)
    compiled = problem.solve(tol=tol, threads=1)
    slack = 1e-12 * compiled.objective
    assert solution.dual_objective <= compiled.objective + slack
    assert compiled.dual_objective <= solution.objective + slack
    assert (solution.cluster_of == compiled.cluster_of).all()
    assert (solution.cluster_count == compiled.cluster_count).all()
    assert (solution.multiplicity == compiled.multiplicity).all()
    assert (solution.collapsed == compiled.collapsed).all()
    return solution


# ------------------------------------------------------------------ same answers


@examples(60)
@given(problem=problems(max_classes=40))
def test_random_problems(problem):
    assert_same(problem)


@examples(40)
@given(problem=problems(max_classes=40, smallest=1e-4, relative=True))
def test_random_problems_in_float32(problem):
    assert_same(problem, dtype=torch.float32)


@examples(15)
@given(problem=problems(max_classes=8, smallest=1e-3, relative=True))
def test_tight_tolerance_on_small_problems(problem):
    assert_same(problem, tol=1e-9)


@pytest.mark.slow
@examples(20)
@given(problem=problems(max_classes=300, max_distinct=200))
def test_larger_random_problems(problem):
    assert_same(problem)
    assert_same(problem, dtype=torch.float32)


@pytest.mark.parametrize("lambda_b", [0.02, 0.0, math.inf])
@pytest.mark.parametrize("share", [0.003, 0.1, 0.5, 0.95, 1.05])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_distinct_weighted_counts(device, dtype, share, lambda_b):
    problem = weighted_problem(90, share, lambda_b)
    solution = assert_same(problem, device=device, dtype=dtype)
    closed = share > 1
    assert solution.method == ("closed form" if closed else "torch factored")
    assert bool(solution.Z.any()) == (not closed)
    assert solution.linear_algebra.startswith(f"torch {device}")
    assert solution.linear_algebra.endswith(str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("lambda_b", [0.02, 0.0, math.inf])
@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_both_sides_of_a_collapse_threshold(device, lambda_b, factor):
    counts = np.repeat([900.0, 400.0, 100.0, 30.0], [4, 1, 5, 3])
    threshold = math.sqrt(100.0) / counts.sum()
    solution = assert_same(Problem(tuple(counts), factor * threshold, lambda_b), device=device)
    expected = np.isin(counts, [100.0, 30.0] if factor > 1 else [30.0])
    assert (solution.collapsed == expected).all()


def test_known_numbers(device):
    table = {0.0027: 1.4476487715, 0.0051: 1.9412208896, 0.0075: 2.1086694991}
    for lambda_z, objective in table.items():
        solution = ufm.torch.solve([500] * 5 + [100] * 5, lambda_z, 0.02, device=device)
        assert solution.objective == pytest.approx(objective, abs=1e-9)


def test_small_solutions_have_exact_zeros():
    problem = weighted_problem(30, 0.4)
    compiled = problem.solve(tol=1e-9)
    assert 0 < compiled.rank < 29
    for dtype in DTYPES:
        assert torch_solve(problem, tol=1e-9, dtype=dtype).rank == compiled.rank


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_matrix_agrees_with_the_compiled_solver(dtype):
    problem = weighted_problem(100, 0.2)
    solution, compiled = torch_solve(problem, tol=1e-10, dtype=dtype), problem.solve(tol=1e-10)
    assert solution.converged and compiled.converged
    assert np.abs(solution.Z - compiled.Z).max() < 1e-3
    assert np.abs(solution.b - compiled.b).max() < 1e-4
    assert solution.rank == compiled.rank


def test_one_class_and_one_cluster():
    for counts in ([7.0], [7.0] * 4):
        assert_same(Problem(tuple(counts), 0.01, 0.1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_extreme_counts(scale, dtype):
    """Outside the range of float32 the last stage, all in float64, has to do it."""
    problem = weighted_problem(40, 0.1)
    counts = np.asarray(problem.counts) * scale
    top = ufm.thresholds(counts, 0.02, problem.class_weights).lambda_max
    assert_same(problem.replace(counts=tuple(counts), lambda_z=0.1 * top), dtype=dtype)


# ------------------------------------------------------------------ precision and repeatability


def test_float32_iterates_alone_do_not_claim_a_tight_tolerance(monkeypatch):
    """Without room to refine in float64 the result is certified as what it is."""
    problem = weighted_problem(90, 0.1)
    monkeypatch.setattr(_minimise, "_room", lambda *_: 0.0)
    solution = torch_solve(problem, dtype=torch.float32, tol=1e-12)
    assert solution.status is ufm.Status.NUMERICAL_ERROR
    assert_certified(problem, solution, 1e-12, must_converge=False)
    assert 1e-12 < solution.relative_gap < 1e-3


def test_float32_is_refined_to_a_tight_tolerance():
    assert_same(weighted_problem(90, 0.1), tol=1e-11, dtype=torch.float32)


def test_same_call_same_bits():
    problem = weighted_problem(150, 0.1)
    for dtype in DTYPES:
        first, second = (torch_solve(problem, dtype=dtype) for _ in range(2))
        assert first.iterations == second.iterations
        assert first.relative_gap == second.relative_gap
        assert first.Z.tobytes() == second.Z.tobytes()
        assert first.b.tobytes() == second.b.tobytes()


def test_settings_for_training_do_not_matter():
    problem = weighted_problem(80, 0.1)
    plain = torch_solve(problem, dtype=torch.float32)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            inside = torch_solve(problem, dtype=torch.float32)
    finally:
        torch.set_default_dtype(default)
    assert inside.Z.tobytes() == plain.Z.tobytes()


def test_without_room_for_the_proof_the_gap_is_larger_but_true(monkeypatch):
    problem = weighted_problem(200, 0.3)
    monkeypatch.setattr(_spectral, "free_bytes", lambda device: 0.0)
    solution = torch_solve(problem, max_iterations=8)
    assert_certified(problem, solution, must_converge=False)
    assert 1e-6 < solution.relative_gap < 0.02
    assert solution.status is ufm.Status.MAX_ITERATIONS


# ------------------------------------------------------------------ stopping


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_iteration_limit(dtype):
    problem = hard_problem()
    solution = torch_solve(problem, tol=1e-15, max_iterations=3, dtype=dtype)
    assert solution.status is ufm.Status.MAX_ITERATIONS
    assert solution.iterations <= 3
    assert_certified(problem, solution, 1e-15, must_converge=False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("limit", [1e-9, 0.5])
def test_time_limit(dtype, limit):
    problem = hard_problem(300)
    start = time.perf_counter()
    solution = torch_solve(problem, tol=1e-15, time_limit=limit, dtype=dtype)
    assert time.perf_counter() - start < 10.0
    assert solution.status is ufm.Status.TIME_LIMIT
    assert_certified(problem, solution, 1e-15, must_converge=False)


def test_progress_reports_and_stops():
    reports = []
    problem = hard_problem(300)

    def progress(*report):
        reports.append(report)
        return len(reports) >= 2

    solution = torch_solve(problem, tol=1e-15, progress=progress, time_limit=60.0)
    assert solution.status is ufm.Status.INTERRUPTED
    assert len(reports) == 2
    for iteration, objective, gap in reports:
        assert isinstance(iteration, int)
        assert math.isfinite(objective) and objective > 0
        assert gap >= 0 or math.isnan(gap)
    assert solution.iterations == reports[-1][0] > reports[0][0] > 0
    assert_certified(problem, solution, 1e-15, must_converge=False)


def test_an_exception_in_progress_propagates():
    def progress(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        torch_solve(hard_problem(300), tol=1e-15, progress=progress, time_limit=60.0)


INTERRUPT_SCRIPT = """
import numpy as np
import ufm.torch
counts = np.linspace(1.0, 3000.0, 400) ** 2
ufm.torch.solve(counts[:8], 1e-4, 0.01)
print("ready", flush=True)
try:
    ufm.torch.solve(counts, 1e-3 / counts.sum(), 0.01, tol=1e-15, max_iterations=2**30)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


@needs_sigint
def test_interrupt_signal():
    outcome, taken = interrupt(INTERRUPT_SCRIPT, after=1.0)
    assert outcome == "KeyboardInterrupt"
    assert taken < 10.0


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"counts": []}, ValueError, "counts"),
        ({"counts": [3.0, -1.0]}, ValueError, "counts"),
        ({"counts": ["a", "b"]}, TypeError, "counts"),
        ({"lambda_z": 0.0}, ValueError, "lambda_z"),
        ({"lambda_z": "1"}, TypeError, "lambda_z"),
        ({"lambda_b": -1.0}, ValueError, "lambda_b"),
        ({"tol": math.nan}, ValueError, "tol"),
        ({"class_weights": [1.0]}, ValueError, "class_weights"),
        ({"max_iterations": 0}, ValueError, "max_iterations"),
        ({"max_iterations": 1.5}, TypeError, "max_iterations"),
        ({"time_limit": -1.0}, ValueError, "time_limit"),
        ({"progress": 1}, TypeError, "progress"),
        ({"device": "abacus"}, ValueError, "device"),
        ({"device": "meta"}, ValueError, "device"),
        ({"device": "cuda:99"}, ValueError, "device"),
        ({"device": 1.5}, TypeError, "device"),
        ({"dtype": torch.float16}, ValueError, "dtype"),
        ({"dtype": "double trouble"}, ValueError, "dtype"),
        ({"dtype": 64}, TypeError, "dtype"),
    ],
)
def test_bad_input_names_the_argument(options, error, word):
    arguments = {"counts": [3.0, 1.0], "lambda_z": 0.1, "lambda_b": 0.02, **options}
    with pytest.raises(error, match=word):
        ufm.torch.solve(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device must be one that PyTorch can use") as caught:
        ufm.torch.solve([3.0, 1.0], 0.1, 0.02, device="cuda")
    assert "\n" not in str(caught.value)


def test_names_of_precisions_and_devices():
    solution = ufm.torch.solve([3.0, 1.0], 0.1, 0.02, device=CPU, dtype="float32")
    assert solution.linear_algebra == "torch cpu float32"


def test_a_problem_too_large_for_the_memory_is_refused_at_once():
    counts = np.arange(1.0, 1_000_001.0)
    start = time.perf_counter()
    with pytest.raises(MemoryError, match=r"1000000 .* GiB"):
        ufm.torch.solve(counts, 1e-6, 0.01)
    assert time.perf_counter() - start < 10.0


# ------------------------------------------------------------------ import


def test_importing_the_package_does_not_import_pytorch(run_python):
    done = run_python("import sys, ufm, ufm.torch; print('torch' in sys.modules, dir(ufm.torch))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False")
    assert "'solve'" in done.stdout
    assert not hasattr(ufm.torch, "solv")
