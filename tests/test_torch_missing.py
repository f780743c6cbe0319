"""Without PyTorch, `ufm.torch` says which extra to install."""

from __future__ import annotations

import pytest

SCRIPT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == MISSING:
            raise ModuleNotFoundError(f"No module named {MISSING!r}", name=MISSING)

sys.meta_path.insert(0, Missing())
import ufm, ufm.torch
try:
    from ufm.torch import NAME
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["solve", "CollapseMetrics", "collect"])
def test_the_extra_is_named(run_python, name):
    done = run_python(f"MISSING = 'torch'\n{SCRIPT.replace('NAME', name)}")
    assert done.returncode == 0, done.stderr
    assert f"ufm.torch.{name} needs PyTorch" in done.stdout
    assert 'pip install "ufm[torch]"' in done.stdout


def test_the_second_package_is_named(run_python):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    done = run_python(f"MISSING = 'torchmetrics'\n{SCRIPT.replace('NAME', 'CollapseMetrics')}")
    assert done.returncode == 0, done.stderr
    assert "ufm.torch.CollapseMetrics needs TorchMetrics" in done.stdout
    assert 'pip install "ufm[torch]"' in done.stdout
