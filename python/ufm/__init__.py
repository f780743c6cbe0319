"""Exact, fast and certified solutions of the unconstrained feature model.

The model of neural collapse with imbalanced classes under cross-entropy (W. Hong and S. Ling,
arXiv 2309.09725). Start with :func:`ufm.solve`.

Names are loaded on first use, so that ``import ufm`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ufm._version import __version__

if TYPE_CHECKING:
    from ufm import metrics
    from ufm.batch import Batch, solve_many
    from ufm.primitives import cross_entropy, svt
    from ufm.solution import Solution, Status
    from ufm.solver import solve
    from ufm.theory.balanced import balanced_solution
    from ufm.theory.thresholds import Thresholds, thresholds

_HOMES = {
    "solve": "ufm.solver",
    "solve_many": "ufm.batch",
    "Batch": "ufm.batch",
    "Solution": "ufm.solution",
    "Status": "ufm.solution",
    "svt": "ufm.primitives",
    "cross_entropy": "ufm.primitives",
    "balanced_solution": "ufm.theory.balanced",
    "thresholds": "ufm.theory.thresholds",
    "Thresholds": "ufm.theory.thresholds",
}

# Submodules that need not be imported by name.
_SUBMODULES = ("metrics",)

__all__ = [
    "Batch",
    "Solution",
    "Status",
    "Thresholds",
    "__version__",
    "balanced_solution",
    "cross_entropy",
    "metrics",
    "solve",
    "solve_many",
    "svt",
    "thresholds",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"ufm.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ufm' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
