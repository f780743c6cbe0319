"""Streaming accumulators of the collapse metrics, as :class:`torchmetrics.Metric`.

Nothing grows with the number of samples: a metric holds class counts, class means and the scatter
around them, in float64 whatever the features are in. Parts, processes and batches are merged by the
rule of Chan, Golub and LeVeque, so that tiny within-class variability does not cancel.
"""

from __future__ import annotations

from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ufm.metrics import CONVENTIONS, NC4, ClassStatistics, Report, report
from ufm.metrics._arrays import as_float64
from ufm.metrics.decision import nc4_result, nearest_mean
from ufm.metrics.statistics import Moments
from ufm.problem import check_choice, check_limit
from ufm.torch._linear import linear_parameters, same_parameters
from ufm.torch._moments import Float64Metric, merge_packed, packed_size, unpack


class FeatureStatistics(Float64Metric):
    """Counts, class means and within-class variability of features that come in batches.

    Parameters
    ----------
    num_classes : int
        K.
    dim : int
        d, the length of a feature vector.
    covariance : bool
        Whether to keep the d x d within-class scatter; NC1 needs it.
    ignore_index : int, optional
        Samples with this label are skipped.
    validate_args : bool
        Whether to check that labels are in range and features finite; that waits for the device.
    **kwargs
        Of :class:`torchmetrics.Metric`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """

    moments: Tensor
    outcomes: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        covariance: bool = True,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = _size("num_classes", num_classes)
        self.dim = _size("dim", dim)
        if not isinstance(covariance, bool):
            raise TypeError(f"covariance must be True or False, got {covariance!r:.80}")
        self.covariance = covariance
        label: Any = ignore_index
        if label is not None and (isinstance(label, bool) or not isinstance(label, Integral)):
            raise TypeError(f"ignore_index must be an integer or None, got {label!r:.80}")
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        shapes = (self.num_classes, self.dim, covariance)
        # One state, because counts, means and scatter of two parts merge only together.
        self.add_state(
            "moments",
            torch.zeros(packed_size(*shapes), dtype=torch.float64),
            dist_reduce_fx=partial(merge_packed, *shapes),
        )
        # Per class: samples with logits, correct ones, and the sum of their cross-entropy.
        self.add_state(
            "outcomes",
            torch.zeros(self.num_classes, 3, dtype=torch.float64),
            dist_reduce_fx="sum",
        )

    def update(
        self,
        features: Tensor,
        labels: Tensor,
        logits: Tensor | None = None,
        *,
        weights: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        features : Tensor of shape (B, d)
            Last-layer features in any floating-point precision, on any device.
        labels : Tensor of shape (B,)
            Classes from 0 to K - 1.
        logits : Tensor of shape (B, K), optional
            Adds accuracy and loss.
        weights : Tensor of shape (B,), optional
            Nonnegative weight of each sample in the statistics; accuracy and loss are unweighted.

        Raises
        ------
        ValueError, TypeError
            If shapes, types or (with ``validate_args``) values are not allowed.
        """
        self._check_batch(features, labels, logits, weights)
        device = self.moments.device
        labels = labels.detach().to(device, torch.int64)
        floats = [
            None if tensor is None else tensor.detach().to(device, torch.float64)
            for tensor in (features, logits, weights)
        ]
        if self.ignore_index is not None:
            kept = labels != self.ignore_index
            labels = labels[kept]
            floats = [None if tensor is None else tensor[kept] for tensor in floats]
        rows, scores, share = floats
        assert rows is not None
        if self.validate_args:
            self._check_values(rows, labels, share)
        if self.moments.is_inference() and not torch.is_inference_mode_enabled():
            # Made by a reset under inference_mode: it could not be changed in place any more.
            self.moments, self.outcomes = self.moments.clone(), self.outcomes.clone()
        self._moments(self.moments).add_batch(rows, labels, share)
        if scores is not None and labels.numel():
            correct = (scores.argmax(dim=1) == labels).to(torch.float64)
            loss = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
            rows = torch.stack([torch.ones_like(loss), correct, loss], dim=1)
            self.outcomes.index_add_(0, labels, rows)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same sizes has seen.

        Parameters
        ----------
        incoming_state : FeatureStatistics or dict
            The other metric, or its ``metric_state``.

        Raises
        ------
        ValueError
            If its sizes are others.
        """
        state: Any = incoming_state
        updates = 1
        if isinstance(state, FeatureStatistics):
            for name in ("num_classes", "dim", "covariance"):
                mine, other = getattr(self, name), getattr(state, name)
                if mine != other:
                    raise ValueError(
                        f"incoming_state must have {name} = {mine} like this metric, got {other}"
                    )
            updates, state = state.update_count, state.metric_state
        if isinstance(state, dict):
            for name, found in state.items():
                own: Any = getattr(self, name, None)
                fits = isinstance(own, Tensor) and isinstance(found, Tensor)
                if fits and own.shape != found.shape:
                    raise ValueError(
                        f"incoming_state must hold {name} of shape {tuple(own.shape)}, "
                        f"got {tuple(found.shape)}"
                    )
        super().merge_state(incoming_state)
        # TorchMetrics takes no note of it: it would warn, or give the result of before.
        self._update_count += updates
        self._computed = None

    def compute(self) -> dict[str, Tensor]:
        """The statistics as float64 tensors, over all processes.

        Returns
        -------
        dict
            ``counts`` (K,), ``means`` (K, d), ``variances`` (K,), ``covariance`` (d, d) unless it
            was left out; and ``class_accuracy`` (K,) and ``class_loss`` (K,), where logits were
            given. NaN for classes without samples.
        """
        found = ClassStatistics.from_moments(self._moments(self.moments))
        values = {"counts": found.counts, "means": found.means, "variances": found.variances}
        if found.covariance is not None:
            values["covariance"] = found.covariance
        seen = self.outcomes[:, 0]
        if bool((seen > 0).any()):
            values["class_accuracy"] = self.outcomes[:, 1] / seen
            values["class_loss"] = self.outcomes[:, 2] / seen
        return values

    def statistics(self) -> ClassStatistics:
        """What :func:`ufm.metrics.report` and its neighbours take; over all processes."""
        values = FeatureStatistics.compute(self) if self._is_synced else self.gathered()
        return ClassStatistics(
            values["counts"], values["means"], values["variances"], values.get("covariance")
        )

    def gathered(self) -> dict[str, Tensor]:
        """What ``FeatureStatistics.compute`` returns, also before the first batch."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            should_sync=self._to_sync,
            should_unsync=self._should_unsync,
        ):
            return FeatureStatistics.compute(self)

    def _moments(self, packed: Tensor) -> Moments:
        return unpack(self.num_classes, self.dim, self.covariance, packed)

    def _check_batch(
        self, features: Tensor, labels: Any, logits: Tensor | None, weights: Tensor | None
    ) -> None:
        _check_features(features, self.dim)
        number = features.shape[0]
        if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
            raise TypeError("labels must be a tensor of integers")
        expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
            ("labels", labels, (number,)),
            ("logits", logits, (number, self.num_classes)),
            ("weights", weights, (number,)),
        ]
        for name, tensor, shape in expected:
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")

    def _check_values(self, features: Tensor, labels: Tensor, weights: Tensor | None) -> None:
        if labels.numel() and not bool(((labels >= 0) & (labels < self.num_classes)).all()):
            raise ValueError(
                f"labels must be from 0 to {self.num_classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError("features must be finite")
        if weights is not None and not bool(((weights >= 0) & weights.isfinite()).all()):
            raise ValueError("weights must be nonnegative and finite")


class CollapseMetrics(FeatureStatistics):
    """Every collapse metric that one pass over the data allows.

    Parameters
    ----------
    num_classes, dim, ignore_index, validate_args, **kwargs
        As for :class:`FeatureStatistics`.
    convention : str
        Of NC1, see :data:`ufm.metrics.CONVENTIONS`.
    pairs : bool
        Whether to compute what takes all K^2 pairs of classes.

    Examples
    --------
    >>> import torch
    >>> from ufm.torch import CollapseMetrics
    >>> metric = CollapseMetrics(num_classes=3, dim=4)
    >>> labels = torch.arange(60) % 3
    >>> metric.update(5 * torch.eye(3, 4)[labels] + 0.1 * torch.randn(60, 4), labels)
    >>> metric.report().nc1.value < 0.01
    True
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        convention: str = "class-weighted",
        pairs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, dim, **kwargs)
        self.convention = check_choice("convention", convention, tuple(CONVENTIONS))
        self.pairs = pairs
        self._classifier: tuple[Tensor, Tensor | None] | None = None

    def update(
        self,
        features: Tensor,
        labels: Tensor,
        logits: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        classifier: torch.nn.Module | None = None,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        features, labels, logits, weights
            As for :class:`FeatureStatistics`.
        classifier : Module, optional
            The linear layer behind the features, for NC3, UNC3 and the bias. Its weights are read
            when the metrics are computed.
        """
        super().update(features, labels, logits, weights=weights)
        if classifier is not None:
            self._classifier = linear_parameters(classifier, self.num_classes, self.dim)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same sizes has seen, and take over its classifier.

        Parameters
        ----------
        incoming_state : CollapseMetrics or dict
            The other metric, or its ``metric_state``, which has no classifier.

        Raises
        ------
        ValueError
            If its sizes are others, or both have a classifier and these differ.
        """
        other = incoming_state._classifier if isinstance(incoming_state, CollapseMetrics) else None
        both = self._classifier is not None and other is not None
        if both and not same_parameters(self._classifier, other):
            raise ValueError("incoming_state must have the classifier of this metric, got another")
        super().merge_state(incoming_state)
        self._classifier = self._classifier or other

    def reset(self) -> None:
        """Forget all samples and the classifier."""
        super().reset()
        self._classifier = None

    def report(self) -> Report:
        """All metrics with their conventions, ranks and remarks; over all processes."""
        return self._report(self.statistics())

    def compute(self) -> dict[str, Tensor]:
        """The numbers of :meth:`report` as scalars, fit for a logger; over all processes.

        Where logits were given also ``accuracy``, ``balanced_accuracy`` (mean over the classes) and
        ``loss``.
        """
        values = self.report().to_dict()
        counted, correct, loss = self.outcomes.T
        seen = counted > 0
        if bool(seen.any()):
            values["accuracy"] = float(correct.sum() / counted.sum())
            values["balanced_accuracy"] = float((correct[seen] / counted[seen]).mean())
            values["loss"] = float(loss.sum() / counted.sum())
        device = self.moments.device
        return {
            name: torch.tensor(float(value), dtype=torch.float64, device=device)
            for name, value in values.items()
        }

    def _report(self, statistics: ClassStatistics) -> Report:
        W, b = (None, None) if self._classifier is None else self._classifier
        return report(statistics, W, b, convention=self.convention, pairs=self.pairs)


class NearestMeanAgreement(Float64Metric):
    """NC4 in a second pass: agreement of the classifier with the nearest of given class means.

    Parameters
    ----------
    means : Tensor of shape (K, d)
        Class means of a first pass; those of classes without samples are NaN and nobody's nearest.
    **kwargs
        Of :class:`torchmetrics.Metric`.
    """

    means: Tensor
    classes: Tensor
    agreed: Tensor
    total: Tensor

    def __init__(self, means: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if means.ndim != 2:
            raise ValueError(f"means must have shape (K, d), got {tuple(means.shape)}")
        classes = (~means.isnan().any(dim=1)).nonzero()[:, 0]
        if classes.numel() < 2:
            raise ValueError("means must be those of at least two classes with samples")
        present = as_float64("means", means[classes], 2).clone()
        self.num_classes = means.shape[0]
        self.register_buffer("means", present, persistent=False)
        self.register_buffer("classes", classes.to(present.device), persistent=False)
        self.add_state("agreed", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor, logits: Tensor) -> None:
        """Add a batch: features of shape (B, d) and logits, bias included, of shape (B, K)."""
        _check_features(features, self.means.shape[1])
        shape = (features.shape[0], self.num_classes)
        if tuple(logits.shape) != shape:
            raise ValueError(f"logits must have shape {shape}, got {tuple(logits.shape)}")
        rows = features.detach().to(self.means)
        decided = logits.detach().to(self.means.device).argmax(dim=1)
        nearest = self.classes[nearest_mean(rows, self.means)]
        self.agreed = self.agreed + (nearest == decided).sum()
        self.total = self.total + features.shape[0]

    def compute(self) -> Tensor:
        """Share of the samples that agree; NaN without samples."""
        return self.agreed / self.total

    def result(self) -> NC4:
        """The share with a verdict on whether the class means are far enough apart."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            should_sync=self._to_sync,
            should_unsync=self._should_unsync,
        ):
            agreed, total = float(self.agreed), int(self.total)
        return nc4_result(agreed, total, self.means)


def _size(name: str, value: int) -> int:
    size = check_limit(name, value)
    if size is None:
        raise TypeError(f"{name} must be a positive integer, got None")
    return size


def _check_features(features: Any, dim: int) -> None:
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise TypeError("features must be a floating-point tensor")
    if features.ndim != 2 or features.shape[1] != dim:
        raise ValueError(f"features must have shape (B, {dim}), got {tuple(features.shape)}")
