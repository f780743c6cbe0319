"""What needs PyTorch (extra ``torch``).

- :func:`ufm.torch.solve` solves problems with very many different classes on a PyTorch device.
- :class:`ufm.torch.CollapseMetrics`, :class:`ufm.torch.FeatureStatistics` and
  :class:`ufm.torch.NearestMeanAgreement` accumulate the collapse metrics over batches.
- :func:`ufm.torch.collect` measures a model with a data loader.

Importing this package does not import PyTorch; using a name of it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ufm.torch.collect import Collected, collect
    from ufm.torch.metrics import CollapseMetrics, FeatureStatistics, NearestMeanAgreement
    from ufm.torch.solver import solve

_HOMES = {
    "solve": "ufm.torch.solver",
    "CollapseMetrics": "ufm.torch.metrics",
    "FeatureStatistics": "ufm.torch.metrics",
    "NearestMeanAgreement": "ufm.torch.metrics",
    "Collected": "ufm.torch.collect",
    "collect": "ufm.torch.collect",
}

__all__ = [
    "Collected",
    "CollapseMetrics",
    "FeatureStatistics",
    "NearestMeanAgreement",
    "collect",
    "solve",
]


_PACKAGES = {"torch": "PyTorch", "torchmetrics": "TorchMetrics"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ufm.torch' has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise ImportError(
            f"ufm.torch.{name} needs {_PACKAGES[error.name]}, which is not installed: "
            'pip install "ufm[torch]"'
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
