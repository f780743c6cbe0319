"""`import ufm` is light, and every public name is there."""

from __future__ import annotations

import json
import statistics

import ufm

HEAVY = ("scipy", "matplotlib", "click", "rich", "torch", "xarray", "pandas")

SCRIPT = """
import json, sys
import ufm
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


# Processor time of this process, which a busy machine stretches far less than the clock's.
IMPORT_TIME = """
import time
import numpy
start = time.process_time()
import ufm
imported = time.process_time()
ufm.solve
print(imported - start, time.process_time() - start)
"""


def test_import_takes_less_than_150_ms_beyond_numpy(run_python):
    """Nor does `import ufm` with the first use of `ufm.solve`, which loads the compiled core."""
    times = []
    for _ in range(5):
        done = run_python(IMPORT_TIME)
        assert done.returncode == 0, done.stderr
        times.append([float(word) for word in done.stdout.split()])
    for seconds in zip(*times, strict=True):
        assert statistics.median(seconds) < 0.15, times


def test_import_is_light(run_python):
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)).isdisjoint(HEAVY)


def test_public_names():
    for name in (
        "solve",
        "solve_many",
        "Batch",
        "Solution",
        "Status",
        "svt",
        "cross_entropy",
        "advise",
        "Advice",
        "balanced_solution",
        "thresholds",
        "metrics",
        "__version__",
    ):
        assert hasattr(ufm, name)
        assert name in dir(ufm)


def test_metrics_load_on_first_use_and_without_torch(run_python):
    done = run_python(
        "import sys, ufm; assert 'ufm.metrics' not in sys.modules; ufm.metrics.nc1; "
        "assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_rooms_are_there_without_importing_them(run_python):
    done = run_python(
        "import sys, ufm\n"
        "ufm.counts.load_counts('5x2'); ufm.figures.heatmap; ufm.torch\n"
        "assert not {'torch', 'matplotlib', 'xarray'} & set(sys.modules)\n"
        "from ufm import *\n"
        "assert not {'torch', 'matplotlib', 'xarray'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(ufm, "solv")
