"""Training one network to the end, whatever interrupts it: :func:`train`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ufm.torch import _checkpoint, run_folder
from ufm.torch._batches import Batches
from ufm.torch._measures import Measured, accuracy_per_class, measure
from ufm.torch._optimise import Polish, Stepper
from ufm.torch._run_data import run_data
from ufm.torch._theory import Theory, penalty_of, theory_of
from ufm.torch._world import World, joined_world
from ufm.torch.config import RunConfig
from ufm.torch.data import Images
from ufm.torch.losses import PenaltyRamp
from ufm.torch.networks import Classifier, build_network
from ufm.torch.run_folder import Run

_MEASUREMENTS = 30  # in a run that does not say how many
_POLISH_PIECE = 10  # iterations between checkpoints


@dataclass(frozen=True)
class Report:
    """How far a run is, for a progress display.

    Attributes
    ----------
    epoch, epochs : int
        Done and in all; pieces of the end phase count as epochs.
    loss, nc1 : float
        Of the last measurement; nan before the first.
    name : str
        Of the run.
    """

    epoch: int
    epochs: int
    loss: float
    nc1: float
    name: str = ""


def train(
    config: RunConfig,
    folder: str | os.PathLike[str],
    *,
    images: Images | None = None,
    device: str | torch.device | None = None,
    checkpoint_seconds: float = 15.0,
    progress: Callable[[Report], Any] | None = None,
) -> Run:
    """Train a network as `config` says, or finish a run that was interrupted.

    Under torchrun the processes share every batch (gradients averaged over them); the first one
    measures and writes.

    Parameters
    ----------
    config : RunConfig
        Data, network, penalties and optimisation.
    folder : path
        Where the run is kept; made if missing. A finished run in it is returned as it is; one that
        was interrupted goes on from its last checkpoint, with the same final result, bit for bit
        on the CPU.
    images : Images, optional
        The data set, instead of the one that ``config.data`` names.
    device : str or torch.device, optional
        Where to train; the CPU by default (under torchrun each process's own GPU).
    checkpoint_seconds : float
        Least time between checkpoints, at ends of epochs.
    progress : callable, optional
        Called with a ``Report`` of the state after every epoch.

    Returns
    -------
    Run
        With ``status`` "finished", or "diverged" if the loss was no longer finite.

    Raises
    ------
    ValueError
        If `folder` holds a run of another configuration, or the configuration does not suit the
        data.
    BlockingIOError
        If another process is training in `folder`.
    FileNotFoundError
        If the data set is not found.
    TypeError
        If `config` is no RunConfig.
    """
    if not isinstance(config, RunConfig):
        raise TypeError(f"config must be a RunConfig, got {config!r:.80}")
    folder = Path(folder)
    with joined_world(device) as world, ExitStack() as held:
        if world.leads:
            _claim(folder, config)
            held.enter_context(_checkpoint.locked(folder))
        world.wait()
        if not world.agree(run_folder.is_done(folder)):
            rng_devices = [world.device] if world.device.type == "cuda" else []
            with torch.random.fork_rng(devices=rng_devices):
                _Training(config, folder, images, world, checkpoint_seconds, progress).run()
        world.wait()
    return run_folder.load_run(folder)


def _claim(folder: Path, config: RunConfig) -> None:
    """Make the folder, or see that it is this run's."""
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.check_config(folder, config)
    _checkpoint.remove_leftovers(folder)
    if run_folder.is_done(folder):
        (folder / run_folder.CHECKPOINT).unlink(missing_ok=True)


class _Training:
    """The state of one run in one process."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        images: Images | None,
        world: World,
        checkpoint_seconds: float,
        progress: Callable[[Report], Any] | None,
    ) -> None:
        self.config, self.folder, self.world = config, folder, world
        self._interval, self._progress = checkpoint_seconds, progress
        self._prepare_data(images)
        training = config.training
        device = world.device
        weights = training.class_weights
        num_classes = len(self.counts)
        if weights and len(weights) != num_classes:
            raise ValueError(
                f"training.class_weights must have {num_classes} entries, got {len(weights)}"
            )
        self.class_weights = torch.tensor(weights, device=device) if weights else None
        self.repeats = torch.tensor(self.batches.repeats, dtype=torch.float32, device=device)
        stated = penalty_of(config, self.batches.size)
        decays = training.weight_decay if training.weight_decay_classifier else 0.0
        self.stated, self.effective = stated, stated.plus_weight_decay(decays)
        self.theory: Theory = (
            theory_of(config, self.batches.effective_counts, self.effective)
            if world.leads
            else Theory.none("computed by the leading process")
        )
        torch.manual_seed(config.seed)
        self.model = self._build_model()
        ramp = PenaltyRamp(
            config.penalty.ramp_start, config.penalty.ramp_until, config.penalty.ramp_shape
        )
        self.stepper = Stepper(
            self.model, self.data, stated, ramp, training, self.class_weights, world
        )
        self.epoch = 0
        self.rows: list[dict[str, float]] = []
        self.history: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self.seconds = 0.0
        self._polish: Polish | None = None
        self._pieces = -(-training.polish // _POLISH_PIECE)

    def _prepare_data(self, images: Images | None) -> None:
        self.counts, self.data = run_data(
            self.config.data,
            self.world.device,
            images,
            channels_last=self.config.training.channels_last(self.world.device),
        )
        self.batches = Batches(
            self.data.train_labels.cpu().numpy(),
            self.config.training.batch_size,
            self.config.seed,
            self.config.training.oversample,
        )

    def _build_model(self) -> Classifier:
        given = self.config.model
        model = build_network(
            given.network,
            self.data.input_shape,
            len(self.counts),
            features=given.features,
            hidden=given.hidden,
            width=given.width or None,
            slope=given.slope,
            slope_until=given.slope_until,
            batch_norm=given.batch_norm,
        )
        if self.world.size > 1 and self.world.device.type == "cuda":
            convert = torch.nn.SyncBatchNorm.convert_sync_batchnorm
            model = convert(model)  # type: ignore[no-untyped-call, unused-ignore]
        last = self.config.training.channels_last(self.world.device)
        if last and len(self.data.input_shape) == 3:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.to(self.world.device)

    def run(self) -> None:
        """From the last checkpoint, or the beginning, to the end."""
        self._resume()
        if self.world.leads:
            run_folder.write_config(self.folder, self.config)
            self._write_state("running")
        started = time.monotonic() - self.seconds
        last_saved = time.monotonic()
        epochs = self.config.training.epochs
        total = epochs + self._pieces
        while self.epoch < total:
            if self.epoch < epochs:
                self._train_epoch()
            elif self.world.leads:
                self._polish_piece()
            self.epoch += 1
            self.seconds = time.monotonic() - started
            if self._is_due(total):
                if self.world.leads:
                    self._record()
                healthy = self.world.agree(self.world.leads and self._is_finite())
                if not healthy:
                    self._finish("diverged")
                    return
            if self.world.leads:
                self._tell(total)
                if self.epoch < total and time.monotonic() - last_saved >= self._interval:
                    self._save()
                    last_saved = time.monotonic()
        self._finish("finished")

    def _train_epoch(self) -> None:
        self.model.train()
        steps, epochs = self.batches.steps, self.config.training.epochs
        for i, rows in enumerate(self.batches.epoch(self.epoch, self.world.device)):
            self.stepper.step(rows, (self.epoch + i / steps) / epochs)

    def _polish_piece(self) -> None:
        self.model.eval()
        self._make_polish().run()

    def _make_polish(self) -> Polish:
        if self._polish is None:
            self._polish = Polish(
                self.model,
                self.data,
                self.effective,
                self.repeats,
                self.class_weights,
                centre=self.config.training.centre_bias,
                iterations=_POLISH_PIECE,
            )
        return self._polish

    def _is_due(self, total: int) -> bool:
        """Whether this epoch is measured."""
        epochs = self.config.training.epochs
        every = self.config.training.measure_every or max(1, round(epochs / _MEASUREMENTS))
        return self.epoch >= epochs or self.epoch % every == 0 or self.epoch in (1, total)

    def _is_finite(self) -> bool:
        return bool(np.isfinite(self.rows[-1]["objective"]))

    def _measure(self) -> Measured:
        self.model.eval()
        return measure(
            self.model,
            self.data.train_inputs,
            self.data.train_labels,
            self.effective,
            self.repeats.double(),
            self.class_weights,
        )

    def _record(self) -> None:
        """Measure the network and append a row."""
        epochs = self.config.training.epochs
        part = min(1.0, self.epoch / epochs)
        ramp = self.stepper.set_progress(part)
        found = self._measure()
        errors = self.theory.errors(found.Z, found.b)
        row: dict[str, float] = {
            "epoch": min(self.epoch, epochs),
            "polish_iterations": max(0, self.epoch - epochs) * _POLISH_PIECE,
            "objective": found.objective,
            "cross_entropy": found.cross_entropy,
            "nc1": found.nc1,
            "within": float(self.counts @ found.within / self.counts.sum()),
            "accuracy": found.accuracy,
            **errors,
            "ramp": ramp,
            "slope": float(getattr(self.model.activation, "slope", 0.0)),
        }
        for k, share in enumerate(self._test_accuracy()):
            row[f"test_accuracy_{k}"] = float(share)
        self.rows.append(row)
        self.history.append((found.Z, found.b))

    def _test_accuracy(self) -> NDArray[np.float64]:
        when = self.config.training.test
        last = self.epoch == self.config.training.epochs + self._pieces
        if when == "never" or (when == "last" and not last):
            return np.full(len(self.counts), np.nan)
        return accuracy_per_class(self.model, self.data.test_inputs, self.data.test_labels)

    def _tell(self, total: int) -> None:
        if self._progress is not None:
            last = self.rows[-1] if self.rows else {"objective": np.nan, "nc1": np.nan}
            report = Report(self.epoch, total, last["objective"], last["nc1"], self.config.name)
            self._progress(report)

    def _write_state(self, status: str) -> None:
        record = {
            "status": status,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "device": str(self.world.device),
            "processes": self.world.size,
            "seeds": {"network and batches": self.config.seed, "data": self.config.data.seed},
            "versions": run_folder.versions(),
            "counts": self.counts.tolist(),
            "effective_counts": self.batches.effective_counts.tolist(),
            "lambda_w": self.effective.lambda_w,
            "lambda_h": self.effective.lambda_h,
            "lambda_b": self.effective.lambda_b,
            "lambda_z": self.effective.lambda_z,
            "lambda_z_without_weight_decay": self.stated.lambda_z,
            "theory": self.theory.note,
        }
        run_folder.write_state(self.folder, record)

    def _save(self) -> None:
        """Write a checkpoint, and the metrics up to it."""
        run_folder.write_metrics(self.folder, self.rows)
        _checkpoint.save_checkpoint(
            self.folder / run_folder.CHECKPOINT,
            {
                "config": json.dumps(self.config.to_dict()),
                "epoch": self.epoch,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "optimizer": self.stepper.optimizer.state_dict(),
                "polish": self._polish.optimizer.state_dict() if self._polish else None,
                "random_state": torch.get_rng_state(),
                "rows": self.rows,
                "Z_history": torch.from_numpy(np.array([Z for Z, _ in self.history])),
                "b_history": torch.from_numpy(np.array([b for _, b in self.history])),
            },
        )

    def _resume(self) -> None:
        path = self.folder / run_folder.CHECKPOINT
        if not path.is_file():
            return
        state = _checkpoint.load_checkpoint(path, torch.device("cpu"))
        try:
            self._take_up(state, path)
        except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"checkpoint {path} does not hold this run ({reason:.200}); remove it"
            ) from None

    def _take_up(self, state: dict[str, Any], path: Path) -> None:
        """Continue from the contents of a checkpoint."""
        if RunConfig.from_dict(json.loads(state["config"])) != self.config:
            raise ValueError(f"checkpoint {path} belongs to another configuration")
        self.model.load_state_dict(state["model"])
        self.stepper.optimizer.load_state_dict(state["optimizer"])
        if state["polish"] is not None:
            self._make_polish().optimizer.load_state_dict(state["polish"])
        torch.set_rng_state(state["random_state"])
        self.epoch, self.seconds, self.rows = state["epoch"], state["seconds"], state["rows"]
        self.history = list(
            zip(state["Z_history"].numpy(), state["b_history"].numpy(), strict=True)
        )

    def _finish(self, status: str) -> None:
        """Write the result; the state comes last, since it says that the run is done."""
        if not self.world.leads:
            return
        found = self._measure()
        test = [self.rows[-1][f"test_accuracy_{k}"] for k in range(len(self.counts))]
        arrays = {
            "Z": found.Z,
            "b": found.b,
            "W": found.W,
            "means": found.means,
            "within": found.within,
            "counts": self.counts,
            "effective_counts": self.batches.effective_counts,
            "Z_history": np.array([Z for Z, _ in self.history]),
            "b_history": np.array([b for _, b in self.history]),
            "test_accuracy": np.array(test),
        }
        run_folder.write_metrics(self.folder, self.rows)
        run_folder.write_final(self.folder, arrays)
        _checkpoint.save_checkpoint(self.folder / run_folder.NETWORK, self.model.state_dict())
        self._write_state(status)
        (self.folder / run_folder.CHECKPOINT).unlink(missing_ok=True)
