"""What a trained model looks like at its last layer: :func:`collect`."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ufm._html import Shown
from ufm.metrics import NC4, ClassStatistics, Report, report
from ufm.problem import FloatArray
from ufm.torch._device import present_device
from ufm.torch._linear import linear_parameters
from ufm.torch.metrics import FeatureStatistics, NearestMeanAgreement

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, eq=False, repr=False)
class Collected(Shown):
    """A model's classifier and the statistics of its features; all arrays are NumPy float64.

    Attributes
    ----------
    W : ndarray of shape (K, d)
        Weight of the classifier.
    b : ndarray of shape (K,) or None
        Its bias, None where it has none.
    statistics : ClassStatistics
        Counts, class means, variances and the within-class covariance.
    class_accuracy, class_loss : ndarray of shape (K,)
        Accuracy and mean cross-entropy of each class; NaN for a class without samples.
    nc4 : NC4 or None
        Agreement with the nearest class mean where a second pass was asked for.
    """

    W: FloatArray
    b: FloatArray | None
    statistics: ClassStatistics
    class_accuracy: FloatArray
    class_loss: FloatArray
    nc4: NC4 | None = None

    @property
    def counts(self) -> Any:
        """Samples per class, shape (K,)."""
        return self.statistics.counts

    @property
    def means(self) -> Any:
        """Class means M, shape (K, d); NaN for a class without samples."""
        return self.statistics.means

    @property
    def Z(self) -> Any:
        """Mean prediction matrix W M^T, shape (K, K); column k belongs to class k."""
        return self.W @ self.means.T

    @property
    def accuracy(self) -> float:
        """Share of the samples that the model gives to their class."""
        return self._mean(self.class_accuracy)

    @property
    def loss(self) -> float:
        """Mean cross-entropy over the samples."""
        return self._mean(self.class_loss)

    def report(self, *, convention: str = "class-weighted", pairs: bool = True) -> Report:
        """All collapse metrics, see :func:`ufm.metrics.report`."""
        return report(self.statistics, self.W, self.b, convention=convention, pairs=pairs)

    def _mean(self, by_class: FloatArray) -> float:
        seen = self.counts > 0
        return float(self.counts[seen] @ by_class[seen] / self.counts.sum())


def collect(
    model: nn.Module,
    loader: Iterable[Any],
    classifier: str | nn.Module,
    *,
    device: torch.device | str | None = None,
    covariance: bool = True,
    nearest_mean: bool = False,
    ignore_index: int | None = None,
    distributed: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Run a model over data and gather what its last layer sees, leaving the model as it was.

    A forward hook on the classifier reads its input and output; nothing of the model is changed.
    The model runs in evaluation mode without gradients; afterwards the mode of every module and the
    states of the random number generators are as before, and the hook is gone, also after an error.
    Memory does not grow with the data.

    Parameters
    ----------
    model : Module
        Any model that calls its classifier once per forward pass.
    loader : iterable
        Batches ``(inputs, labels)``, or mappings with the key "labels" whose other entries are
        passed to the model by name. Inputs may be tuples, lists or mappings of tensors.
    classifier : str or Module
        The last linear layer, or its name in the model ("fc", "head", "classifier.6"). Its weight
        has shape (K, d). Features may have further axes (tokens), if labels have the same.
    device : device, optional
        Where inputs are moved to; that of the classifier where not given.
    covariance : bool
        Whether to gather the d x d within-class covariance, which NC1 needs.
    nearest_mean : bool
        Whether to run a second pass for NC4. The loader must give the same samples again.
    ignore_index : int, optional
        Samples with this label are skipped.
    distributed : bool
        Whether the processes of ``torch.distributed`` see different samples, to be merged.
    progress : callable, optional
        Called with the number of batches done and their total (None where unknown).

    Returns
    -------
    Collected

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, no sample was seen, or a batch is not as described.

    Examples
    --------
    >>> import torch
    >>> from ufm.torch import collect
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> batches = [(torch.randn(30, 8), torch.arange(30) % 3)]
    >>> found = collect(model, batches, classifier="2")
    >>> found.Z.shape, found.statistics.num_samples
    ((3, 3), 30.0)
    """
    model = unwrapped(model)
    layer = find_classifier(model, classifier)
    weight, bias = linear_parameters(layer)
    num_classes, dim = weight.shape
    run = _Run(
        model,
        loader,
        layer,
        weight.device if device is None else present_device(device),
        ignore_index,
        progress,
    )
    options: dict[str, Any] = {"sync_on_compute": distributed}
    seen = FeatureStatistics(num_classes, dim, covariance=covariance, **options).to(run.home)
    with closing(run.batches()) as batches:
        for features, labels, logits in batches:
            seen.update(features, labels, logits)
    values = seen.gathered()
    if "class_accuracy" not in values:
        raise ValueError("loader must give at least one sample with a label that is not ignored")
    nc4 = None
    if nearest_mean:
        agreement = NearestMeanAgreement(values["means"], **options).to(run.home)
        with closing(run.batches()) as batches:
            for features, _, logits in batches:
                agreement.update(features, logits)
        nc4 = agreement.result()
        if nc4.samples != round(float(values["counts"].sum())):
            raise ValueError(
                "loader must give the same samples twice for nearest_mean, got "
                f"{values['counts'].sum():.0f} and then {nc4.samples}"
            )
    host = {name: value.cpu().numpy() for name, value in values.items()}
    return Collected(
        W=_numpy(weight),
        b=None if bias is None else _numpy(bias),
        statistics=ClassStatistics(
            host["counts"], host["means"], host["variances"], host.get("covariance")
        ),
        class_accuracy=host["class_accuracy"],
        class_loss=host["class_loss"],
        nc4=nc4,
    )


def _numpy(tensor: Tensor) -> FloatArray:
    # A copy: what was collected must not follow the model's further training.
    return np.array(tensor.detach().cpu().to(torch.float64).numpy())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside what compiles or distributes it: its forward pass is the same."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner: Any = model
    while isinstance(inner, parallel) or hasattr(inner, "_orig_mod"):
        inner = inner.module if isinstance(inner, parallel) else inner._orig_mod
    unwrapped: nn.Module = inner
    return unwrapped


def find_classifier(model: nn.Module, classifier: str | nn.Module) -> nn.Module:
    """The last layer, by name or as itself; an error lists what there is."""
    if isinstance(classifier, str):
        layers: dict[str, nn.Module] = dict(model.named_modules())
        if classifier not in layers:
            linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
            raise ValueError(
                f"classifier must name a module of the model, got {classifier!r}; "
                f"its linear layers: {', '.join(linear[-8:]) or 'none'}"
            )
        return layers[classifier]
    if not isinstance(classifier, nn.Module):
        raise TypeError(f"classifier must be a name or a module, got {type(classifier).__name__}")
    if not any(classifier is module for module in model.modules()):
        raise ValueError("classifier must be a module of the model")
    return classifier


@dataclass(frozen=True)
class _Run:
    """A model, its data and where they meet; every pass sees the same random numbers."""

    model: nn.Module
    loader: Iterable[Any]
    layer: nn.Module
    device: torch.device
    ignore_index: int | None
    progress: Progress | None

    @property
    def home(self) -> torch.device:
        """Where float64 sums are kept."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def batches(self) -> Generator[tuple[Tensor, Tensor, Tensor]]:
        """Features, labels and logits of every batch, without ignored samples."""
        calls: list[tuple[Tensor, Tensor]] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            features = args[0] if args else next(iter(kwargs.values()))
            # Copies: the model may go on to change either in place.
            calls.append((features.detach().clone(), out.detach().clone()))

        total = len(self.loader) if isinstance(self.loader, Sized) else None
        hook = self.layer.register_forward_hook(keep, with_kwargs=True)
        try:
            with _undisturbed(self.model, self.loader):
                for done, batch in enumerate(self.loader, start=1):
                    inputs, labels = _split(batch)
                    calls.clear()
                    with torch.no_grad():
                        _call(self.model, _moved(inputs, self.device))
                    if len(calls) != 1:
                        raise ValueError(
                            "classifier must be called once per forward pass, "
                            f"was called {len(calls)} times"
                        )
                    yield self._flat(*calls[0], labels)
                    if self.progress is not None:
                        self.progress(done, total)
        finally:
            hook.remove()

    def _flat(
        self, features: Tensor, logits: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        if tuple(labels.shape) != tuple(features.shape[:-1]):
            raise ValueError(
                f"labels must have one entry per feature vector, {tuple(features.shape[:-1])}, "
                f"got shape {tuple(labels.shape)}"
            )
        rows = features.reshape(-1, features.shape[-1])
        scores = logits.reshape(-1, logits.shape[-1])
        flat = labels.to(rows.device).reshape(-1)
        if self.ignore_index is not None:
            kept = flat != self.ignore_index
            rows, scores, flat = rows[kept], scores[kept], flat[kept]
        return rows, flat, scores


def _split(batch: Any) -> tuple[Any, Tensor]:
    if isinstance(batch, Mapping):
        if "labels" not in batch:
            raise ValueError(f'batches must have the key "labels", got {list(batch)}')
        inputs: Any = {name: value for name, value in batch.items() if name != "labels"}
        labels = batch["labels"]
    elif isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, labels = batch
    else:
        raise TypeError(
            "loader must give pairs (inputs, labels) or mappings with the key "
            f'"labels", got {type(batch).__name__}'
        )
    return inputs, torch.as_tensor(labels)


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_moved(value, device) for value in inputs]
    return inputs


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list) else model(inputs)


@contextmanager
def _undisturbed(model: nn.Module, loader: Any) -> Iterator[None]:
    """Evaluation mode inside; every mode and random state as before outside."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    generators = {id(found): found for found in _generators(loader)}.values()
    states = [(generator, generator.get_state()) for generator in generators]
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        for generator, state in states:
            generator.set_state(state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _generators(loader: Any) -> Iterator[torch.Generator]:
    """Generators that a data loader draws from."""
    holders = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    holders.append(getattr(holders[-1], "sampler", None))
    for holder in holders:
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator
