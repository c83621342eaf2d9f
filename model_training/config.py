"""The configuration of a training run: frozen dataclasses, filled from a TOML file and overrides."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from model_training.data.selection import DataConfig
from model_training.data.text.text_policy import TextPolicy

SHIPPED = Path(__file__).parent / "configs"

# Least and greatest value of a number; keys not named take any.
LIMITS: Mapping[str, tuple[float, float]] = {
    "model.image_size": (32, 4096),
    "model.width": (1, math.inf),
    "model.layers": (1, math.inf),
    "model.heads": (1, math.inf),
    "model.dropout": (0, 0.9),
    "model.max_new_tokens": (1, math.inf),
    "data.min_count": (1, math.inf),
    "data.max_views": (1, math.inf),
    "augmentation.rotation": (0, 45),
    "augmentation.shift": (0, 0.5),
    "augmentation.scale": (0, 0.5),
    "augmentation.brightness": (0, 5),
    "augmentation.contrast": (0, 0.9),
    "training.epochs": (1, math.inf),
    "training.batch_size": (1, math.inf),
    "training.accumulation": (1, math.inf),
    "training.learning_rate": (0, math.inf),
    "training.encoder_rate_factor": (0, math.inf),
    "training.frozen_epochs": (0, math.inf),
    "training.frozen_layers": (0, math.inf),
    "training.weight_decay": (0, math.inf),
    "training.warm_up": (0, 1),
    "training.label_smoothing": (0, 0.9),
    "training.view_dropout": (0, 1),
    "training.hiding": (0, 1),
    "training.teacher_weight": (0, 1),
    "model.feature_dropout": (0, 0.9),
    "training.source_balance": (0, 1),
    "training.class_balance": (0, 1),
    "training.ema_decay": (0, 1),
    "training.patience": (0, math.inf),
    "training.save_steps": (0, math.inf),
    "training.save_minutes": (0, math.inf),
    "training.seed": (0, math.inf),
    "decoding.num_beams": (1, 8),
    "decoding.repetition_penalty": (0.1, 10),
}


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network."""

    encoder: str = "resnet-small"
    encoder_weights: str = ""
    decoder: str = "transformer"
    image_size: int = 160
    width: int = 192
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    feature_dropout: float = 0.0
    conditioning: Literal["nothing", "probabilities", "decisions"] = "probabilities"
    max_new_tokens: int = 128


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """How far training images are changed at random, each way; 0 is off. Mirroring is missing on purpose: it exchanges
    left and right, which reports name.

    `rotation` in degrees, `shift` as a share of the side, `scale` and `contrast` as a share of 1, `brightness` in
    standard deviations of the image. Preprocessing takes exposure out but for what borders and markers add to it, so
    little of the last two is enough.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The optimisation. Losses are summed with these weights, the token loss with weight 1; `place_weight` is that of
    the boxes, where a collection has them.

    `hiding` is the greatest share of an image's labels that weak pairing keeps back from its report
    (`dataset.hide_labels`). `teachers` are folders of finished runs; in studies of the sources they were taught by,
    their mean probability takes the place of a label by `teacher_weight`, and entirely where there is none (Hinton et
    al. 2015, arXiv:1503.02531).

    `batch_size` counts the studies of one step over all processes; each process takes its part in `accumulation`
    pieces. The encoder learns at `encoder_rate_factor` × `learning_rate`, and not at all in the first `frozen_epochs`;
    its first `frozen_layers` (of convolutional encoders) never do. `start_from` is the folder of a finished run with
    the same encoder and findings, whose encoder and finding head this one starts with.
    `source_balance` and `class_balance` are how far rare sources and findings are repeated (`training.sampling`).
    The best epoch by `monitor` on the validation split is kept; after `patience` epochs without a better one training
    ends (0: never early). The state to resume from is saved every `save_minutes` and every `save_steps` (0: off).
    """

    epochs: int = 10
    batch_size: int = 32
    accumulation: int = 1
    precision: Literal["auto", "bf16", "f32"] = "auto"
    learning_rate: float = 1e-3
    encoder_rate_factor: float = 1.0
    frozen_epochs: int = 0
    frozen_layers: int = 0
    start_from: str = ""
    weight_decay: float = 0.05
    warm_up: float = 0.05
    label_smoothing: float = 0.05
    finding_weight: float = 1.0
    view_weight: float = 0.2
    place_weight: float = 0.0
    hiding: float = 0.0
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.5
    view_dropout: float = 0.1
    clip_norm: float = 1.0
    source_balance: float = 0.0
    class_balance: float = 0.0
    ema_decay: float = 0.998
    monitor: Literal["loss", "tokens", "findings", "BLEU-4"] = "loss"
    patience: int = 0
    save_minutes: float = 10.0
    save_steps: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """The default decoding options the checkpoint ships with."""

    num_beams: int = 3
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class CardConfig:
    """What the checkpoint and its card say; `notes` are the paragraphs behind the card's figures, `failures` examples
    of what it gets wrong, `excluded_use` what it must not be used for."""

    name: str = "unnamed"
    version: str = "0"
    intended_use: str = "Research use only. Not for clinical use."
    training_data: tuple[str, ...] = ()
    made_by: str = ""
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    excluded_use: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on besides its data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    text: TextPolicy = field(default_factory=TextPolicy)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    card: CardConfig = field(default_factory=CardConfig)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Section to key to value, as a TOML file has them."""
        return dataclasses.asdict(self)

    def portable(self) -> dict[str, dict[str, Any]]:
        """As `as_dict`, with files and folders by their names alone: where they lie is nobody else's business."""
        values = self.as_dict()
        for section, key in (("model", "encoder_weights"), ("data", "reports")):
            values[section][key] = Path(values[section][key]).name
        values["training"]["start_from"] = Path(self.training.start_from).name
        values["training"]["teachers"] = tuple(Path(folder).name for folder in self.training.teachers)
        return values

    def to_toml(self) -> str:
        """The file that `load_config` reads back to the same configuration."""
        # What JSON writes of these values is TOML too.
        blocks = [
            "\n".join([f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
            for section, values in self.as_dict().items()
        ]
        return "\n\n".join(blocks) + "\n"


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> Config:
    """A shipped configuration by name or one from a file, with `section.key=value` overrides (values as in TOML).

    Raises `ConfigError` that names the key for unknown sections and keys and for values that cannot be.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = SHIPPED / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise ConfigError(f"no configuration {str(name)!r}; shipped ones: {known}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    for override in overrides:
        section, _, rest = override.partition(".")
        key, equals, value = rest.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} is not of the form section.key=value")
        values = content.setdefault(section, {})
        if isinstance(values, dict):
            values[key] = _toml_value(value)
    return config_from(content)


def config_from(content: Mapping[str, Any]) -> Config:
    """A `Config` from nested mappings. Raises `ConfigError`."""
    sections = {}
    hints = get_type_hints(Config)
    for name, values in content.items():
        if name not in hints:
            raise ConfigError(f"unknown section [{name}]; known: {', '.join(hints)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{name}: expected a section of keys, got {values!r}")
        sections[name] = _section(hints[name], name, values)
    config = Config(**sections)
    if config.model.width % config.model.heads:
        raise ConfigError(f"model.width: {config.model.width} is no multiple of model.heads, {config.model.heads}")
    if not config.data.sections:
        raise ConfigError("data.sections: name at least one")
    return config


def _section(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"unknown key {name}.{key}; known: {', '.join(hints)}")
        checked[key] = _checked(f"{name}.{key}", hints[key], value)
    return kind(**checked)


def _checked(key: str, hint: Any, value: Any) -> Any:
    """The value as the field's type has it: lists as tuples, whole numbers as floats where those are meant."""
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key}: expected a list, got {value!r}")
        return tuple(_checked(key, get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{key}: {value!r} is none of {', '.join(map(repr, get_args(hint)))}")
        return value
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{key}: expected {hint.__name__}, got {value!r}")
    low, high = LIMITS.get(key, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        raise ConfigError(f"{key}: {value!r} is not between {low} and {high}")
    return value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
