"""A trained network, or a stored run, against the model's prediction: :func:`compare`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ufm.comparison import THEORIES, Comparison, compare_prediction
from ufm.problem import check_counts, check_real
from ufm.torch._collect import Progress, collect, find_classifier, unwrapped
from ufm.torch.losses import FeaturePenalty
from ufm.torch.run_folder import check_result, load_run

# Their weight_decay w adds w times the parameter to the gradient: the penalty (w/2)|parameter|^2.
_COUPLED = {
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "SGD",
}


def compare(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    classifier: str | nn.Module = "fc",
    feature_penalty: FeaturePenalty | float | None = None,
    lambda_z: float | None = None,
    lambda_b: float | None = None,
    counts: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    theories: Sequence[str] = THEORIES,
    tol: float = 1e-8,
    rtol: float = 0.02,
    atol: float = 0.02,
    time_limit: float | None = None,
    device: torch.device | str | None = None,
    ignore_index: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure a trained network on its training set and compare it with the model's prediction.

    The penalties are given as `lambda_z` and `lambda_b`, or follow from the optimizer's weight
    decay and from `feature_penalty`: lambda_W is the weight decay of the classifier's weight, its
    bias's is lambda_b (plus what a :class:`FeaturePenalty` adds), lambda_z = sqrt(lambda_W
    lambda_H). The loss is that of :func:`ufm.torch.ufm_loss`: the mean cross-entropy plus
    (lambda_H/2) times the sum of |h|^2 over all samples.

    Parameters
    ----------
    model : Module
        The network; it is left as it was (see :func:`ufm.torch.collect`).
    loader : iterable
        Batches of the training set, without augmentation.
    optimizer : torch.optim.Optimizer, optional
        What the network was trained with, for its weight decay. Not needed where both lambdas are
        given.
    classifier : str or Module
        The last linear layer, or its name.
    feature_penalty : FeaturePenalty or float, optional
        The loss's own penalties, or lambda_H alone.
    lambda_z, lambda_b : float, optional
        Given instead of inferred.
    counts : array_like of shape (K,), optional
        Samples of each class in an epoch, where classes are oversampled; those of the loader else.
    class_weights, theories, tol, rtol, atol, time_limit
        As for :func:`ufm.compare_prediction`.
    device, ignore_index, progress
        As for :func:`ufm.torch.collect`.

    Returns
    -------
    Comparison
        ``summary()``, ``to_dict()``, ``plot(path)``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed, the lambdas do not follow from what is given, or a class has
        no samples.

    Examples
    --------
    >>> import torch
    >>> from ufm.torch import compare
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> batches = [(torch.randn(30, 8), torch.arange(30) % 3)]
    >>> found = compare(model, batches, classifier="2", lambda_z=0.05, lambda_b=0.02)
    >>> len(found.fits), found.converged
    (2, True)
    """
    layer: Any = find_classifier(unwrapped(model), classifier)
    lambdas = _lambdas(layer, optimizer, feature_penalty, lambda_z, lambda_b)
    found = collect(
        model,
        loader,
        classifier,
        device=device,
        covariance=False,
        ignore_index=ignore_index,
        progress=progress,
    )
    missing = [k for k, count in enumerate(found.counts) if count == 0]
    if missing:
        raise ValueError(f"loader must give samples of every class, got none of class {missing[0]}")
    used = found.counts if counts is None else check_counts(counts)
    if isinstance(feature_penalty, FeaturePenalty):
        _check_samples(feature_penalty, float(used.sum()))
    return compare_prediction(
        (found.W, found.means),
        found.b,
        used,
        class_weights=class_weights,
        theories=theories,
        tol=tol,
        rtol=rtol,
        atol=atol,
        time_limit=time_limit,
        **lambdas,
    )


def compare_run(
    folder: str | os.PathLike[str],
    *,
    theories: Sequence[str] = THEORIES,
    tol: float = 1e-8,
    rtol: float = 0.02,
    atol: float = 0.02,
    time_limit: float | None = None,
) -> Comparison:
    """Compare a stored run (see :func:`ufm.torch.train`) with the model's prediction.

    The penalties are those in its ``run.json``, weight decay counted in.

    Parameters
    ----------
    folder : path
        The run's folder.
    theories, tol, rtol, atol, time_limit
        As for :func:`ufm.compare_prediction`.

    Returns
    -------
    Comparison

    Raises
    ------
    FileNotFoundError
        If it is no run's folder.
    ValueError
        If the run is not finished or damaged, or has a penalty that is zero.
    """
    run = load_run(Path(folder))
    if run.status != "finished":
        raise ValueError(f"run {folder} must be finished to be compared, it is {run.status}")
    state, final = run.state, run.final
    if not final:
        raise ValueError(f"run {folder} is damaged: it is finished but has no result")
    check_result(
        run,
        state=("lambda_z", "lambda_b", "lambda_w", "lambda_h"),
        arrays=("W", "means", "b", "effective_counts"),
    )
    return compare_prediction(
        (final["W"], final["means"]),
        final["b"],
        final["effective_counts"],
        state["lambda_z"],
        state["lambda_b"],
        class_weights=run.config.training.class_weights or None,
        lambda_w=state["lambda_w"],
        lambda_h=state["lambda_h"],
        theories=theories,
        tol=tol,
        rtol=rtol,
        atol=atol,
        time_limit=time_limit,
    )


def _lambdas(
    layer: Any,
    optimizer: torch.optim.Optimizer | None,
    feature_penalty: FeaturePenalty | float | None,
    lambda_z: float | None,
    lambda_b: float | None,
) -> dict[str, Any]:
    """lambda_z, lambda_b, lambda_w and lambda_h; the last two None where lambda_z was given."""
    penalty = _as_penalty(feature_penalty)
    found: dict[str, Any] = {"lambda_w": None, "lambda_h": None}
    if lambda_z is None:
        if penalty is None:
            raise ValueError("feature_penalty must be given where lambda_z is not")
        lambda_w = penalty.lambda_w + _weight_decay(optimizer, layer.weight, "weight", "lambda_z")
        if lambda_w <= 0:
            raise ValueError(
                "lambda_w must be positive for the model to predict anything, got 0: the "
                "classifier's weight has neither weight decay nor a penalty"
            )
        if penalty.lambda_h <= 0:
            raise ValueError("feature_penalty must have a positive lambda_h, got 0")
        found["lambda_w"], found["lambda_h"] = lambda_w, penalty.lambda_h
        lambda_z = math.sqrt(lambda_w * penalty.lambda_h)
    bias = getattr(layer, "bias", None)
    if lambda_b is None:
        lambda_b = math.inf
        if bias is not None:
            lambda_b = _weight_decay(optimizer, bias, "bias", "lambda_b")
            lambda_b += 0.0 if penalty is None else penalty.lambda_b
    return {**found, "lambda_z": lambda_z, "lambda_b": lambda_b}


def _as_penalty(given: FeaturePenalty | float | None) -> FeaturePenalty | None:
    if given is None or isinstance(given, FeaturePenalty):
        return given
    value = check_real("feature_penalty", given)
    if not 0 < value < math.inf:
        raise ValueError(f"feature_penalty must be positive and finite, got {value}")
    return FeaturePenalty(0.0, value, 0.0, 1.0)


def _check_samples(penalty: FeaturePenalty, samples: float) -> None:
    if abs(penalty.num_samples - samples) > 1e-6 * samples:
        raise ValueError(
            f"feature_penalty is for {penalty.num_samples:.10g} samples, but the comparison is "
            f"with {samples:.10g}: give counts with the repetitions of an epoch, or another loader"
        )


def _weight_decay(
    optimizer: torch.optim.Optimizer | None, parameter: Tensor, what: str, instead: str
) -> float:
    """The weight of |parameter|^2/2 that the optimizer's weight decay amounts to."""
    if optimizer is None:
        raise ValueError(f"optimizer must be given where {instead} is not")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    for group in optimizer.param_groups:
        if any(parameter is one for one in group["params"]):
            return _of_group(type(optimizer), group, instead)
    raise ValueError(f"optimizer does not train the classifier's {what}: give {instead}")


def _of_group(kind: type[torch.optim.Optimizer], group: dict[str, Any], instead: str) -> float:
    decay = float(group.get("weight_decay", 0.0))
    if decay == 0:
        return 0.0
    known = kind.__module__.startswith("torch.optim") and kind.__name__ in _COUPLED
    if group.get("decoupled_weight_decay", False) or not known:
        raise ValueError(
            f"optimizer {kind.__name__} decouples its weight decay ({decay:g}) from the loss, or "
            f"may do so: its fixed points minimise no penalised loss; give {instead}"
        )
    return decay
