"""What needs PyTorch (extra ``torch``).

- :func:`ufm.torch.solve` solves problems with very many different classes on a PyTorch device.
- :class:`ufm.torch.CollapseMetrics`, :class:`ufm.torch.FeatureStatistics` and
  :class:`ufm.torch.NearestMeanAgreement` accumulate the collapse metrics over batches.
- :func:`ufm.torch.collect` measures a model with a data loader, :func:`ufm.torch.compare` puts it
  beside the theory, :func:`ufm.torch.compare_run` does so with a stored run.
- :func:`ufm.torch.train` trains a network in the setting of the theory, :func:`build_network`,
  :func:`load_images`, :func:`ufm_loss` and their like are its pieces, and
  :func:`load_protocol` reads whole experiments.

Importing this package does not import PyTorch; using a name of it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ufm.torch._collect import Collected, collect
    from ufm.torch._compare import compare, compare_run
    from ufm.torch.config import RunConfig
    from ufm.torch.data import Images, Preparation, imbalanced_subset, load_images, prepare
    from ufm.torch.losses import (
        AnnealedLeakyReLU,
        FeaturePenalty,
        PenaltyRamp,
        centre_bias,
        ufm_loss,
    )
    from ufm.torch.metrics import CollapseMetrics, FeatureStatistics, NearestMeanAgreement
    from ufm.torch.networks import Classifier, build_network
    from ufm.torch.protocol import Protocol, load_protocol, protocol_names
    from ufm.torch.rehearsal import Rehearsal, rehearse
    from ufm.torch.run_folder import Run, load_run
    from ufm.torch.several import train_many
    from ufm.torch.solver import solve
    from ufm.torch.training import train

_HOMES = {
    "AnnealedLeakyReLU": "ufm.torch.losses",
    "Classifier": "ufm.torch.networks",
    "CollapseMetrics": "ufm.torch.metrics",
    "Collected": "ufm.torch._collect",
    "FeaturePenalty": "ufm.torch.losses",
    "FeatureStatistics": "ufm.torch.metrics",
    "Images": "ufm.torch.data",
    "NearestMeanAgreement": "ufm.torch.metrics",
    "PenaltyRamp": "ufm.torch.losses",
    "Preparation": "ufm.torch.data",
    "Rehearsal": "ufm.torch.rehearsal",
    "Protocol": "ufm.torch.protocol",
    "Run": "ufm.torch.run_folder",
    "RunConfig": "ufm.torch.config",
    "build_network": "ufm.torch.networks",
    "centre_bias": "ufm.torch.losses",
    "collect": "ufm.torch._collect",
    "compare": "ufm.torch._compare",
    "compare_run": "ufm.torch._compare",
    "imbalanced_subset": "ufm.torch.data",
    "load_images": "ufm.torch.data",
    "load_protocol": "ufm.torch.protocol",
    "load_run": "ufm.torch.run_folder",
    "prepare": "ufm.torch.data",
    "rehearse": "ufm.torch.rehearsal",
    "protocol_names": "ufm.torch.protocol",
    "solve": "ufm.torch.solver",
    "train": "ufm.torch.training",
    "train_many": "ufm.torch.several",
    "ufm_loss": "ufm.torch.losses",
}

__all__ = [
    "AnnealedLeakyReLU",
    "Classifier",
    "CollapseMetrics",
    "Collected",
    "FeaturePenalty",
    "FeatureStatistics",
    "Images",
    "NearestMeanAgreement",
    "PenaltyRamp",
    "Preparation",
    "Protocol",
    "Rehearsal",
    "Run",
    "RunConfig",
    "build_network",
    "centre_bias",
    "collect",
    "compare",
    "compare_run",
    "imbalanced_subset",
    "load_images",
    "load_protocol",
    "load_run",
    "prepare",
    "protocol_names",
    "rehearse",
    "solve",
    "train",
    "train_many",
    "ufm_loss",
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
