"""Limits of memory, time and iterations: a clean error or the best certified iterate."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ufm
from conftest import child_environment
from interrupted import needs_sigint, start_listening
from problems import METHODS, Problem, assert_certified

pytest.importorskip("resource")
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space in /proc")

# One call under a limit on the address space: it works, or raises MemoryError with a message.
LIMITED = """
import json, math, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
import numpy as np
import ufm
from ufm import losses

def sizes(distinct):
    return np.linspace(1.0, 3e4, distinct) ** 1.2

def unit(counts):
    return 0.5 * math.sqrt(counts.min()) / counts.sum()

def solve(distinct, **options):
    counts = sizes(distinct)
    return ufm.solve(counts, unit(counts), 0.01, time_limit=3.0, **options)

try:
    result = eval(sys.argv[1])
    print(json.dumps({"works": repr(result)[:200]}))
except MemoryError as error:
    print(json.dumps({"message": str(error)}))
"""


def limited(expression: str) -> dict[str, str]:
    """Evaluate an expression under a limit of 1 GiB, in a child that must end by itself."""
    environment = child_environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, expression],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    report: dict[str, str] = json.loads(done.stdout)
    return report


# What does not fit must say what it was, and name the size of the arrays or their number.
TOO_LARGE = {
    "factored": ("solve(8000, method='factored')", ("8000 different counts", "MiB each")),
    "proximal": ("solve(9000, method='proximal')", ("9000 different counts", "MiB each")),
    "smoothing": (
        "ufm.solve(sizes(9000), 1e-9, 0.01, loss=losses.label_smoothing(0.1), time_limit=3.0)",
        ("9000 different counts", "MiB each"),
    ),
    "Z": ("ufm.solve(np.repeat([5.0, 3.0], 25_000), 1e-5, 0.01).Z", ("50000 x 50000", "GiB")),
    "factors": (
        "ufm.solve(np.repeat([5.0, 3.0], 25_000), 1e-5, 0.01).factors()",
        ("50000 x 50000", "GiB"),
    ),
    "blocks": ("solve(12_000).blocks", ("12000 x 12000", "GiB")),
    "singular values": ("solve(12_000).singular_values", ("12000 x 12000", "GiB")),
    "solve_many": (
        "ufm.solve_many(np.ones((20_000, 6_000), dtype=np.int8), 0.1, 0.1)",
        ("all problems", "(20000, 6000)"),
    ),
    "svt": ("ufm.svt(np.ones((9_000, 9_000)), 0.1)", ("9000 x 9000", "MiB")),
    "cross_entropy": (
        "ufm.cross_entropy(np.zeros((8_000, 8_000)), np.zeros(8_000), np.ones(8_000))",
        ("8000 x 8000", "MiB"),
    ),
    "nonnegative": (
        "ufm.nonnegative_solution(sizes(9_000), 1e-9, 0.01, time_limit=3.0)",
        ("9000 different counts", "MiB"),
    ),
    "thresholds of a loss": (
        "ufm.thresholds(sizes(12_000), 0.01, loss=losses.label_smoothing(0.1))",
        ("12000 x 12000", "GiB"),
    ),
    "seli": ("ufm.seli(sizes(9_000))", ("seli", "GiB")),
    "balanced": ("ufm.balanced_solution(50_000, 10, 1e-6).Z", ("50000", "GiB")),
}
# These need no array of all pairs.
FITS = {
    "continuum": "solve(3000, tol=1e-3)",
    "solve_many": "ufm.solve_many([sizes(2000)] * 3, unit(sizes(2000)), 0.01, tol=1e-3, threads=2)",
    "two clusters": "ufm.solve(np.repeat([5.0, 3.0], 1_000_000), 1e-9, 0.01).column(3)",
    "thresholds": "ufm.thresholds(sizes(20_000), 0.01).lambda_max",
    "a million problems": "ufm.solve_many([5.0, 5.0, 3.0], np.geomspace(1e-4, 0.1, 10**6), 0.1)",
    "nonnegative without bias": "ufm.nonnegative_solution(sizes(20_000), 1e-9, math.inf)",
}


@linux
@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_does_not_fit_says_so(name):
    expression, words = TOO_LARGE[name]
    report = limited(expression)
    assert "message" in report, report
    for word in words:
        assert word in report["message"], report["message"]


@linux
@pytest.mark.parametrize("name", FITS)
def test_what_needs_little_works(name):
    assert "works" in limited(FITS[name])


# OpenBLAS would wait forever for the buffer of a thread that finds no address space.
BARELY = """
import math, resource, sys, threading
import numpy as np
import ufm
from scipy.linalg import cython_lapack
ufm.solve([3, 2], 0.1, 0.1)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
limit = size + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
counts = np.linspace(1.0, 3e4, 90) ** 1.2
lambda_z = 0.5 * math.sqrt(counts.min()) / counts.sum()
ends = []

def one():
    try:
        solution = ufm.solve(counts, lambda_z, 0.01, method="factored", time_limit=5.0)
        ends.append(solution.status.name)
    except MemoryError as error:
        ends.append("MemoryError" if str(error) else "no message")

threads = [threading.Thread(target=one) for _ in range(int(sys.argv[2]))]
for thread in threads:
    try:
        thread.start()
    except RuntimeError:  # no room for its stack
        ends.append("unstarted")
for thread in threads:
    if thread.ident is not None:
        thread.join()
try:
    batch = ufm.solve_many([counts] * 8, lambda_z, 0.01, threads=4, time_limit=5.0)
    ends.append(batch.status[0].name)
except MemoryError as error:
    ends.append("MemoryError" if str(error) else "no message")
print(*ends)
"""


@linux
@pytest.mark.parametrize("left", [3, 15, 30, 60, 90, 150, 600])
def test_hardly_any_address_space_never_hangs(left):
    environment = child_environment() | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BARELY, str(left), "3"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    ends = done.stdout.split()
    assert len(ends) == 4
    assert set(ends) <= {"CONVERGED", "MemoryError", "TIME_LIMIT", "unstarted"}, ends
    if left == 600:
        assert set(ends) <= {"CONVERGED", "TIME_LIMIT"}, ends


# ---------------------------------------------------------------------- time and iterations


def many_sizes(classes: int) -> Problem:
    counts = np.linspace(1.0, 3000.0, classes) ** 2
    return Problem(tuple(counts), 1e-3 / counts.sum(), 0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("iterations", [1, 7])
def test_iteration_limit_returns_the_best_certified_iterate(method, iterations):
    problem = many_sizes(90)
    solution = problem.solve(tol=1e-15, method=method, max_iterations=iterations)
    assert solution.status in (ufm.Status.MAX_ITERATIONS, ufm.Status.NUMERICAL_ERROR)
    assert solution.iterations <= iterations
    assert_certified(problem, solution, 1e-15, must_converge=False)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [300, pytest.param(1100, marks=pytest.mark.slow)])
def test_time_limit_holds_within_a_certificate(method, classes):
    """What comes after the limit is one certificate, whose time the solution tells."""
    problem = many_sizes(classes)
    problem.solve(tol=1.0, time_limit=1.0)  # load everything that loads lazily
    begin = time.perf_counter()
    solution = problem.solve(tol=1e-15, method=method, time_limit=0.4)
    taken = time.perf_counter() - begin
    assert solution.status is ufm.Status.TIME_LIMIT
    assert_certified(problem, solution, 1e-15, must_converge=False)
    # Generous, since machines are shared: a certificate is a few products and factorisations.
    assert taken < 0.4 + (3.0 if classes < 1000 else 15.0)


def test_time_limits_of_other_solves():
    counts = np.linspace(1.0, 300.0, 60) ** 2
    for solve in (
        lambda: ufm.nonnegative_solution(counts, 1e-7, 0.01, tol=1e-15, time_limit=0.3),
        lambda: ufm.layer_peeled(counts, 5.0, 5.0, tol=1e-15, time_limit=0.3),
    ):
        begin = time.perf_counter()
        solution = solve()
        assert time.perf_counter() - begin < 4.0
        assert solution.status in (ufm.Status.TIME_LIMIT, ufm.Status.NUMERICAL_ERROR)
        assert math.isfinite(solution.relative_gap) and solution.relative_gap > 1e-15


# ---------------------------------------------------------------------- Ctrl-C

INTERRUPTED = """
import sys, time
import numpy as np
import ufm
from ufm import losses
few = np.linspace(1.0, 300.0, 60) ** 2
many = np.linspace(1.0, 3000.0, 1300) ** 2
ufm.solve(few, 1e-3 / few.sum(), 0.01, time_limit=0.2)
run = {expression}
print("ready", flush=True)
try:
    while True:
        run()
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""
SVD = "np.random.default_rng(0).standard_normal((1000, 1000))"
LONG = {
    "proximal at many counts": "lambda: ufm.solve(many, 1e-3 / many.sum(), 0.01, tol=1e-15, "
    "method='proximal')",
    "svt": f"(lambda X: lambda: ufm.svt(X, 0.1))({SVD})",
    "nonnegative": "lambda: ufm.nonnegative_solution(few, 1e-7, 0.01, tol=1e-15)",
    "layer peeled": "lambda: ufm.layer_peeled(few, 5.0, 5.0, tol=1e-15)",
    "path": "lambda: ufm.path(few, lambda_b=0.01)",
    "advise": "lambda: ufm.advise(few, lambda_z=1e-6, lambda_b=0.01)",
    "sweep": "lambda: ufm.sweep(few, lambda_z=np.geomspace(1e-7, 1e-3, 999), lambda_b=0.01)",
    "thresholds of a loss": "lambda: ufm.thresholds(many, 0.01, loss=losses.label_smoothing(0.1))",
}


def signalled(command: list[str], wait: float) -> tuple[float, int, str, str]:
    """Send Ctrl-C some seconds after ``ready``.

    Returns the seconds until the child spoke or ended, its exit status, and what it said.
    """
    with start_listening(command, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stderr is not None
            assert child.stdout.readline().strip() == "ready", child.stderr.read()
            time.sleep(wait)
            assert child.poll() is None, "it ended before it could be interrupted"
            sent = time.perf_counter()
            child.send_signal(signal.SIGINT)
            out = child.stdout.readline()
            taken = time.perf_counter() - sent
            child.wait(timeout=120)
            return taken, child.returncode, out.strip(), child.stderr.read()
        finally:
            if child.poll() is None:
                child.kill()


@needs_sigint
@pytest.mark.parametrize("name", LONG)
def test_interrupt_of_every_long_function(name):
    if name == "sweep":
        pytest.importorskip("xarray")
    script = INTERRUPTED.format(expression=LONG[name])
    taken, status, out, error = signalled([sys.executable, "-c", script], 0.7)
    assert out == "KeyboardInterrupt", error
    assert taken < 2.5, taken
    assert status == 0, error


COMMANDS = {
    "solve": ["solve", "--counts", "{long}", "--lambda-z", "1e-9", "--lambda-b", "0.01",
              "--tol", "1e-15", "--method", "proximal"],
    "advise": ["advise", "--counts", "{pairs}", "--lambda-z", "1.05x", "--lambda-b", "0.01"],
    "sweep": ["sweep", "--counts", "{many}", "--lambda-z", "1e-8:1e-4:4000", "--lambda-b", "0.01"],
    "figure": ["figure", "phase", "--points", "1000", "--json"],
}  # fmt: skip


# Says when it is loaded, and repeats the command, which fast machines end early.
COMMAND_LINE = """
import sys
from ufm.cli import main
import ufm.cli.app
print("ready", flush=True)
while True:
    status = main(sys.argv[1:])
    if status not in (0, 1):
        sys.exit(status)
"""


@needs_sigint
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupt_of_every_long_command(name, tmp_path):
    pytest.importorskip("rich")
    if name == "sweep":
        pytest.importorskip("xarray")
    given = COMMANDS[name]
    many = ",".join(str(k * k) for k in range(1, 401))
    pairs = ",".join(f"{k}x2" for k in range(1001, 1121))
    long = tmp_path / "counts.csv"
    long.write_text("count\n" + "\n".join(str(k * k) for k in range(1, 1301)))
    command = [part.format(many=many, pairs=pairs, long=long) for part in given]
    taken, status, _, error = signalled([sys.executable, "-c", COMMAND_LINE, *command], 1.5)
    assert status == 130, (status, error)
    assert error.strip().splitlines()[-1] == "ufm: interrupted"
    assert taken < 4.0
