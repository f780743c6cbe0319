"""What defines a run: :class:`RunConfig`, read from and written to TOML."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ufm.problem import check_choice

FEATURES = ("linear", "relu")
BATCH_NORMS = ("own", "none", "last")
NETWORKS = ("mlp", "cnn", "resnet18", "vgg11", "vgg13")
SCHEDULES = ("cosine", "steps", "constant")
OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "bfloat16")
MEMORY_FORMATS = ("auto", "contiguous", "channels_last")
MODES = ("corrected", "as_published")
TEST_TIMES = ("measured", "last", "never")


@dataclass(frozen=True)
class DataConfig:
    """Which images, how many of each class, and their preparation.

    Attributes
    ----------
    source, path : str
        As for :func:`ufm.torch.load_images`; an empty path means to look in the usual places.
    counts : str
        Images of each class, such as ``"500x5,100x5"``.
    seed : int
        Seed of the choice of images.
    resize, whiten : int
        As for :class:`ufm.torch.Preparation`; 0 for neither.
    pool : int
        As for :class:`ufm.torch.Preparation`.
    """

    source: str = "digits"
    path: str = ""
    counts: str = "150x5,30x5"
    seed: int = 0
    resize: int = 0
    pool: int = 1
    whiten: int = 0

    def __post_init__(self) -> None:
        """Refuse a name and a seed that mean nothing."""
        if not self.source:
            raise ValueError("data.source must be the name of a data set, got an empty string")
        _check_seed("data.seed", self.seed)


@dataclass(frozen=True)
class ModelConfig:
    """The network, as for :func:`ufm.torch.build_network`; width 0 for the network's own."""

    network: str = "mlp"
    features: str = "linear"
    hidden: tuple[int, ...] = (512,)
    width: int = 0
    slope: float = 0.0
    slope_until: float = 0.6
    batch_norm: str = "own"

    def __post_init__(self) -> None:
        """Refuse names that mean nothing."""
        check_choice("model.network", self.network, NETWORKS)
        check_choice("model.features", self.features, FEATURES)
        check_choice("model.batch_norm", self.batch_norm, BATCH_NORMS)


@dataclass(frozen=True)
class PenaltyConfig:
    """The penalties of the loss: lambdas, or the published code's weights.

    Attributes
    ----------
    lambda_z : float
        sqrt(lambda_w lambda_h); 0 if given otherwise.
    n_lambda_z : float
        lambda_z times the number of samples, for counts that vary; 0 if given otherwise.
    lambda_b : float
        Weight of ``|b|^2/2``.
    split : float
        As for :meth:`ufm.torch.FeaturePenalty.from_lambda_z`.
    w_ratio : float
        ``lambda_w / lambda_z``, instead of `split`; 0 for none.
    reg_w, reg_h, reg_b : float
        Weights of the published code's loss, without factors 1/2, instead of the lambdas.
    ramp_start, ramp_until, ramp_shape
        As for :class:`ufm.torch.PenaltyRamp`; ``ramp_until = 0`` for no ramp.
    """

    lambda_z: float = 0.0
    n_lambda_z: float = 0.0
    lambda_b: float = 0.0
    split: float = 1.0
    w_ratio: float = 0.0
    reg_w: float = 0.0
    reg_h: float = 0.0
    reg_b: float = 0.0
    ramp_start: float = 0.0
    ramp_until: float = 0.0
    ramp_shape: str = "linear"

    def __post_init__(self) -> None:
        """Nothing negative, and exactly one way to give the strength."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and not value >= 0:
                raise ValueError(f"penalty.{f.name} must be at least 0, got {value}")
        given = [
            name
            for name, value in (
                ("lambda_z", self.lambda_z),
                ("n_lambda_z", self.n_lambda_z),
                ("reg_w and reg_h", max(self.reg_w, self.reg_h)),
            )
            if value
        ]
        if len(given) != 1:
            raise ValueError(
                "penalty: give exactly one of lambda_z, n_lambda_z, or reg_w with reg_h; got "
                + (", ".join(given) or "none")
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How the loss is minimised.

    Attributes
    ----------
    epochs, batch_size : int
        ``batch_size = 0`` for the whole training set at once.
    optimizer : str
        ``"adam"`` or ``"sgd"``.
    learning_rate, momentum, weight_decay : float
        Momentum is SGD's. Weight decay is the optimizer's own, ``weight_decay/2 |.|^2``.
    weight_decay_classifier : bool
        Whether it acts on W and b too; then it adds to lambda_w and lambda_b, and does so in the
        theory that a run is compared with.
    bias_rate : float
        Learning rate of the classifier's bias as a multiple of the others'. Its weak penalty
        makes it the slowest of all parameters.
    centre_bias : bool
        Project the bias on ``1^T b = 0`` after each step.
    schedule : str
        ``"cosine"`` to zero after a `flat` part; ``"steps"``: times `decay` at each of the
        `milestones`; ``"constant"``.
    flat, milestones, decay
        Of the schedule; parts of the training, 0 to 1.
    polish : int
        Iterations of full-batch L-BFGS after the epochs, with batch norm frozen.
    oversample : tuple of float
        Repetitions of each class's images in an epoch, K numbers of at least 1; empty for none.
    class_weights : tuple of float
        Factors on each class's cross-entropy; empty for none.
    precision : str
        ``"float32"``, or ``"bfloat16"`` for automatic mixed precision of the backbone.
    memory_format : str
        Of images inside the network: ``"contiguous"``, ``"channels_last"``, or ``"auto"``, which is
        the latter on a GPU.
    measure_every : int
        Epochs between measurements; 0 for about 30 in a run.
    test : str
        Test accuracy ``"measured"`` each time, ``"last"`` or ``"never"``.
    """

    epochs: int = 100
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    weight_decay_classifier: bool = True
    bias_rate: float = 1.0
    centre_bias: bool = False
    schedule: str = "cosine"
    flat: float = 0.0
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    polish: int = 0
    oversample: tuple[float, ...] = ()
    class_weights: tuple[float, ...] = ()
    precision: str = "float32"
    memory_format: str = "auto"
    measure_every: int = 0
    test: str = "measured"

    def channels_last(self, device: Any) -> bool:
        """Whether images are channels-last on `device`, a ``torch.device``."""
        return self.memory_format == "channels_last" or (
            self.memory_format == "auto" and device.type == "cuda"
        )

    def __post_init__(self) -> None:
        """Refuse words and numbers that mean nothing."""
        check_choice("training.optimizer", self.optimizer, OPTIMIZERS)
        check_choice("training.schedule", self.schedule, SCHEDULES)
        check_choice("training.precision", self.precision, PRECISIONS)
        check_choice("training.memory_format", self.memory_format, MEMORY_FORMATS)
        check_choice("training.test", self.test, TEST_TIMES)
        if self.epochs < 1:
            raise ValueError(f"training.epochs must be positive, got {self.epochs}")
        for name in ("batch_size", "polish", "measure_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} must be at least 0, got {getattr(self, name)}")
        for name in ("learning_rate", "bias_rate", "decay"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"training.{name} must be positive, got {getattr(self, name)}")
        for name in ("momentum", "flat"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"training.weight_decay must be at least 0, got {self.weight_decay}")
        if any(not 0 <= part <= 1 for part in self.milestones):
            raise ValueError(f"training.milestones must lie in [0, 1], got {self.milestones}")
        if any(not factor >= 1 for factor in self.oversample):
            raise ValueError(f"training.oversample must be at least 1, got {self.oversample}")
        if any(not 0 < weight < math.inf for weight in self.class_weights):
            raise ValueError(f"training.class_weights must be positive, got {self.class_weights}")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run's result depends on, apart from the machine.

    Attributes
    ----------
    name : str
        Name of the run and of its folder.
    seed : int
        Seed of the initial weights and of the order of the batches.
    mode : str
        ``"corrected"`` or ``"as_published"``: which settings of a protocol it came from.

    Examples
    --------
    >>> from ufm.torch import RunConfig
    >>> config = RunConfig.from_dict({"penalty": {"lambda_z": 0.01}, "training": {"epochs": 20}})
    >>> config.training.epochs, config.data.counts
    (20, '150x5,30x5')
    """

    name: str = "run"
    seed: int = 0
    mode: str = "corrected"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    penalty: PenaltyConfig = field(default_factory=lambda: PenaltyConfig(lambda_z=0.01))
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse a seed that random numbers cannot start from."""
        _check_seed("seed", self.seed)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RunConfig:
        """Build from nested mappings.

        Raises
        ------
        ValueError
            If a key is unknown or a value out of range.
        TypeError
            If a value has the wrong type.
        """
        return typing.cast(RunConfig, _build(cls, record, ""))

    def to_dict(self) -> dict[str, Any]:
        """Nested dicts of plain values, the inverse of :meth:`from_dict`."""
        return dataclasses.asdict(self)


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ValueError(f"{name} must be an integer from 0 to 2^63 - 1, got {seed}")


def _build(kind: type, record: Any, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise TypeError(f"{where or 'a run'} must be a table, got {record!r:.80}")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    for key in record:
        if key not in known:
            raise ValueError(
                f"unknown key '{_join(where, key)}'; allowed: {', '.join(sorted(known))}"
            )
    return kind(**{k: _value(hints[k], v, _join(where, k)) for k, v in record.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{where} must be a list, got {value!r:.80}")
        return tuple(_value(inner, item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{where} must be of type {hint.__name__}, got {value!r:.80}")
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{where} must be finite, got {value}")
    return value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def to_toml(record: Mapping[str, Any]) -> str:
    """TOML text of nested mappings of strings, numbers, booleans and lists of these."""
    lines: list[str] = []
    tables: list[tuple[str, Mapping[str, Any]]] = [("", record)]
    while tables:
        where, table = tables.pop(0)
        if where:
            lines += ["", f"[{where}]"]
        for key, value in table.items():
            if isinstance(value, Mapping):
                tables.append((_join(where, key), value))
            else:
                lines.append(f"{key} = {_toml_value(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        import json

        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"cannot write {type(value).__name__} as TOML")
