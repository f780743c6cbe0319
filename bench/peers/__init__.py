"""The solvers that are compared, each a function ``run(case, recorder)`` behind a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from bench.cases import Case
from bench.recorder import Recorder


@dataclass(frozen=True)
class Peer:
    """A solver: where its function is and how it is named in tables.

    Attributes
    ----------
    watched : bool
        Whether iterates are judged as it runs; otherwise it is run once a tolerance.
    """

    name: str
    label: str
    module: str
    needs: tuple[str, ...]
    watched: bool
    option: str = ""

    def missing(self) -> str | None:
        """Return why the peer cannot run here, or None."""
        for module in self.needs:
            try:
                import_module(module)
            except ImportError:
                return f"{module} is not installed"
        if self.name.startswith("ufm-"):
            from ufm.solver import METHODS

            if self.option not in METHODS:
                return f"ufm has no method {self.option!r}"
        return None

    def runner(self) -> Callable[[Case, Recorder], None]:
        run: Callable[..., None] = import_module(self.module).run
        return partial(run, self.option) if self.option else run


def _ours(method: str) -> Peer:
    return Peer(f"ufm-{method}", f"ufm {method}", "bench.peers.ours", ("ufm",), False, method)


_PEERS = (
    _ours("auto"),
    _ours("continuum"),
    _ours("factored"),
    _ours("proximal"),
    Peer(
        "cvxpy-clarabel",
        "CVXPY + Clarabel",
        "bench.peers.conic",
        ("cvxpy", "clarabel"),
        False,
        "CLARABEL",
    ),
    Peer("cvxpy-scs", "CVXPY + SCS", "bench.peers.conic", ("cvxpy", "scs"), False, "SCS"),
    Peer("scipy-lbfgs", "SciPy L-BFGS-B, factored", "bench.peers.lbfgs", ("scipy",), True),
    Peer("numpy-apg", "NumPy/LAPACK proximal gradient", "bench.peers.proximal", ("scipy",), True),
    Peer("torch-lbfgs", "torch L-BFGS on W, H", "bench.peers.network", ("torch",), True, "lbfgs"),
    Peer("torch-adam", "torch Adam on W, H", "bench.peers.network", ("torch",), True, "adam"),
)

PEERS = {peer.name: peer for peer in _PEERS}
