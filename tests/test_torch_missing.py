"""Without PyTorch, `ufm.torch` says which extra to install."""

from __future__ import annotations

SCRIPT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Missing())
import ufm, ufm.torch
try:
    from ufm.torch import solve
except ImportError as error:
    print(error)
"""


def test_the_extra_is_named(run_python):
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr
    assert 'pip install "ufm[torch]"' in done.stdout
