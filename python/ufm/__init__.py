"""Exact, fast and certified solutions of the unconstrained feature model.

The model of neural collapse with imbalanced classes under cross-entropy (W. Hong and S. Ling,
arXiv 2309.09725). Start with :func:`ufm.solve`.

Names are loaded on first use, so that ``import ufm`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ufm._version import __version__

if TYPE_CHECKING:
    from ufm import counts as counts
    from ufm import figures as figures
    from ufm import losses, metrics
    from ufm import torch as torch
    from ufm._loss import Loss
    from ufm.batch import Batch, solve_many
    from ufm.comparison import Comparison, compare_prediction
    from ufm.planning.advice import Advice
    from ufm.planning.advisor import advise
    from ufm.planning.path import Path, RankEvent, path
    from ufm.planning.phase import phase_diagram
    from ufm.planning.sweep import sweep
    from ufm.primitives import cross_entropy, svt
    from ufm.solution import Solution, Status
    from ufm.solver import solve
    from ufm.theory._cluster_matrix import ClusterMatrix
    from ufm.theory._layer_peeled import LayerPeeledSolution
    from ufm.theory.balanced import balanced_solution
    from ufm.theory.bias_only import BiasOnlyThresholds, bias_only_thresholds
    from ufm.theory.confusion import Confusion, confusion
    from ufm.theory.cosines import Cosines, prediction_cosines
    from ufm.theory.geometry import Geometry, predicted_geometry
    from ufm.theory.large_samples import (
        LargeSampleLimit,
        SampleScales,
        large_sample_limit,
        sample_scales,
    )
    from ufm.theory.layer_peeled import layer_peeled
    from ufm.theory.nonnegative import NonnegativeSolution, nonnegative_solution
    from ufm.theory.nonnegative_thresholds import NonnegativeThresholds, nonnegative_thresholds
    from ufm.theory.seli import SeliLimit, seli
    from ufm.theory.thresholds import Thresholds, thresholds
    from ufm.theory.two_clusters import (
        CriticalRatios,
        ImbalanceLimit,
        TwoClusterThresholds,
        critical_ratios,
        imbalance_limit,
        two_cluster_thresholds,
    )

_HOMES = {
    "solve": "ufm.solver",
    "solve_many": "ufm.batch",
    "Batch": "ufm.batch",
    "compare_prediction": "ufm.comparison",
    "Comparison": "ufm.comparison",
    "advise": "ufm.planning.advisor",
    "Advice": "ufm.planning.advice",
    "Solution": "ufm.solution",
    "Status": "ufm.solution",
    "Loss": "ufm._loss",
    "counts": "ufm.counts",
    "figures": "ufm.figures",
    "torch": "ufm.torch",
    "losses": "ufm.losses",
    "metrics": "ufm.metrics",
    "sweep": "ufm.planning.sweep",
    "path": "ufm.planning.path",
    "Path": "ufm.planning.path",
    "RankEvent": "ufm.planning.path",
    "phase_diagram": "ufm.planning.phase",
    "svt": "ufm.primitives",
    "cross_entropy": "ufm.primitives",
    "balanced_solution": "ufm.theory.balanced",
    "nonnegative_solution": "ufm.theory.nonnegative",
    "NonnegativeSolution": "ufm.theory.nonnegative",
    "nonnegative_thresholds": "ufm.theory.nonnegative_thresholds",
    "NonnegativeThresholds": "ufm.theory.nonnegative_thresholds",
    "bias_only_thresholds": "ufm.theory.bias_only",
    "BiasOnlyThresholds": "ufm.theory.bias_only",
    "ClusterMatrix": "ufm.theory._cluster_matrix",
    "Confusion": "ufm.theory.confusion",
    "confusion": "ufm.theory.confusion",
    "Cosines": "ufm.theory.cosines",
    "prediction_cosines": "ufm.theory.cosines",
    "Geometry": "ufm.theory.geometry",
    "predicted_geometry": "ufm.theory.geometry",
    "LargeSampleLimit": "ufm.theory.large_samples",
    "large_sample_limit": "ufm.theory.large_samples",
    "SampleScales": "ufm.theory.large_samples",
    "sample_scales": "ufm.theory.large_samples",
    "SeliLimit": "ufm.theory.seli",
    "seli": "ufm.theory.seli",
    "CriticalRatios": "ufm.theory.two_clusters",
    "critical_ratios": "ufm.theory.two_clusters",
    "ImbalanceLimit": "ufm.theory.two_clusters",
    "imbalance_limit": "ufm.theory.two_clusters",
    "TwoClusterThresholds": "ufm.theory.two_clusters",
    "two_cluster_thresholds": "ufm.theory.two_clusters",
    "layer_peeled": "ufm.theory.layer_peeled",
    "LayerPeeledSolution": "ufm.theory._layer_peeled",
    "thresholds": "ufm.theory.thresholds",
    "Thresholds": "ufm.theory.thresholds",
}

__all__ = [
    "Advice",
    "Batch",
    "BiasOnlyThresholds",
    "ClusterMatrix",
    "Comparison",
    "Confusion",
    "Cosines",
    "CriticalRatios",
    "Geometry",
    "ImbalanceLimit",
    "LargeSampleLimit",
    "LayerPeeledSolution",
    "Loss",
    "NonnegativeSolution",
    "NonnegativeThresholds",
    "Path",
    "RankEvent",
    "SampleScales",
    "SeliLimit",
    "Solution",
    "Status",
    "Thresholds",
    "TwoClusterThresholds",
    "__version__",
    "advise",
    "balanced_solution",
    "bias_only_thresholds",
    "compare_prediction",
    "confusion",
    "counts",
    "critical_ratios",
    "cross_entropy",
    "figures",
    "imbalance_limit",
    "large_sample_limit",
    "layer_peeled",
    "losses",
    "metrics",
    "nonnegative_solution",
    "nonnegative_thresholds",
    "path",
    "phase_diagram",
    "predicted_geometry",
    "prediction_cosines",
    "sample_scales",
    "seli",
    "solve",
    "solve_many",
    "svt",
    "sweep",
    "thresholds",
    "torch",
    "two_cluster_thresholds",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ufm' has no attribute {name!r}")
    module = import_module(home)
    value = module if home == f"ufm.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
