"""Metrics of neural collapse, as pure functions on NumPy arrays or PyTorch tensors.

Every function takes either kind, computes in float64 on the tensor's own device and returns plain
numbers in a small record that also says which convention was used and when a value does not mean
what its name says (:class:`MetricWarning`). Shapes: class means ``M`` (K, d), global mean ``mu``
(d,), classifier ``W`` (K, d), bias ``b`` (K,), ``counts`` (K,). All quantities are dimensionless.

- From features: :func:`class_statistics`, then :func:`report` for everything at once.
- Collapse: :func:`nc1`, :func:`nc1_trace_ratio`, :func:`cdnv`, :func:`nc2`, :func:`gnc2`,
  :func:`nc3`, :func:`unc3`, :func:`nc4`, :func:`nc5`, :func:`bias_cancellation`.
- Against the model's solution, the target under imbalance: :func:`prediction_errors`,
  :func:`gram_errors`, :func:`block_cosines`, :func:`factor_balance`, :func:`cluster_spread`.

PyTorch is not imported here; streaming accumulators are in :mod:`ufm.torch`.
"""

from ufm.metrics._arrays import MetricWarning
from ufm.metrics.alignment import NC3, UNC3, FactorBalance, factor_balance, nc3, unc3
from ufm.metrics.angles import GNC2, NC2, gnc2, nc2
from ufm.metrics.clusters import BlockCosines, ClusterSpread, block_cosines, cluster_spread
from ufm.metrics.decision import NC4, bias_cancellation, nc4, nc5
from ufm.metrics.overview import Report, report
from ufm.metrics.prediction import (
    GramErrors,
    PredictedGrams,
    PredictionErrors,
    clusters_of,
    gram_errors,
    mean_prediction,
    predicted_grams,
    prediction_errors,
)
from ufm.metrics.statistics import ClassStatistics, class_statistics
from ufm.metrics.variability import (
    CDNV,
    CONVENTIONS,
    NC1,
    Convention,
    TraceRatio,
    cdnv,
    global_mean,
    nc1,
    nc1_trace_ratio,
)

__all__ = [
    "CDNV",
    "CONVENTIONS",
    "GNC2",
    "NC1",
    "NC2",
    "NC3",
    "NC4",
    "UNC3",
    "BlockCosines",
    "ClassStatistics",
    "ClusterSpread",
    "Convention",
    "FactorBalance",
    "GramErrors",
    "MetricWarning",
    "PredictedGrams",
    "PredictionErrors",
    "Report",
    "TraceRatio",
    "bias_cancellation",
    "block_cosines",
    "cdnv",
    "class_statistics",
    "cluster_spread",
    "clusters_of",
    "factor_balance",
    "global_mean",
    "gnc2",
    "gram_errors",
    "mean_prediction",
    "nc1",
    "nc1_trace_ratio",
    "nc2",
    "nc3",
    "nc4",
    "nc5",
    "predicted_grams",
    "prediction_errors",
    "report",
    "unc3",
]
