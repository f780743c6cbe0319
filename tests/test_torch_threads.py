"""PyTorch's threads are the user's: nothing of ours changes their number."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")

SCRIPT = """
import json, threading
import numpy as np
import torch
torch.set_num_threads(3)
torch.set_num_interop_threads(2)
seen = []

def note(what):
    seen.append([what, torch.get_num_threads(), torch.get_num_interop_threads()])

import ufm
import ufm.torch
note("import")
counts = np.linspace(1.0, 300.0, 60) ** 2
ufm.solve(counts, 1e-3 / counts.sum(), 0.01, threads=1, time_limit=0.3)
note("solve")
ufm.solve_many([counts] * 3, 1e-3 / counts.sum(), 0.01, threads=2, time_limit=0.3)
note("solve_many")
ufm.torch.solve([50, 50, 5, 5], 0.01, 0.02)
note("torch.solve")
thread = threading.Thread(target=lambda: ufm.torch.solve([50, 50, 5, 5], 0.01, 0.02))
thread.start()
thread.join()
note("thread")
print(json.dumps(seen))
"""


def test_no_call_changes_the_threads_of_torch(run_python):
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert [entry[1:] for entry in seen] == [[3, 2]] * 5, seen


def test_torch_solves_in_threads_agree_to_the_bit():
    from concurrent.futures import ThreadPoolExecutor

    from ufm.torch import solve

    def one(number: int) -> tuple[float, bytes]:
        solution = solve([50.0, 50.0, 12.0, 5.0, 5.0], 0.002 * (1 + number % 3), 0.02)
        return solution.objective, np.asarray(solution.Z).tobytes()

    alone = [one(number) for number in range(3)]
    with ThreadPoolExecutor(6) as pool:
        for number, found in enumerate(pool.map(one, range(12))):
            assert found == alone[number % 3]
