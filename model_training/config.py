"""The configuration of a training run: frozen sections, filled from a TOML file and overrides.

What studies and texts are learnt from is configured where it is done: `data.selection`, `data.text.text_policy`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from app.inference.options import MAX_TOKENS, DecodingOptions
from model_training.data.files import read_text
from model_training.data.selection import DataConfig
from model_training.data.text.text_policy import TextPolicy

SHIPPED = Path(__file__).parent / "configs"
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
SECTION = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key."""


@dataclass(frozen=True, slots=True, config=SECTION)
class ModelConfig:
    """The network. `weights_deviation` is the standard deviation of the images that `encoder_weights` learnt from, as
    they were normalised there; `output_stride` is how far apart the encoder's positions lie, in pixels; `conditioning`
    is what its decoder attends to, `detail` what is seen of an image of `image_size` pixels a side: none finer
    than so many a side, 0 for all (`ReportModel`)."""

    encoder: str = "resnet-small"
    encoder_weights: str = ""
    weights_deviation: float = Field(default=1.0, gt=0, le=10)
    decoder: str = "transformer"
    image_size: int = Field(default=160, ge=32, le=4096)
    output_stride: Literal[16, 32] = 32
    detail: int = Field(default=0, ge=0, le=4096)
    width: int = Field(default=192, ge=1)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, le=0.9)
    feature_dropout: float = Field(default=0.0, ge=0, le=0.9)
    conditioning: Literal["images", "images and facts", "facts"] = "images and facts"
    max_new_tokens: int = Field(default=128, ge=1, le=MAX_TOKENS)

    def __post_init__(self) -> None:
        """Raises ValueError where the heads cannot share the width, or an image cannot be reduced evenly."""
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is no multiple of model.heads, {self.heads}")
        if self.detail and self.image_size % self.detail:
            raise ValueError(f"detail: model.image_size, {self.image_size}, is no multiple of {self.detail}")


@dataclass(frozen=True, slots=True, config=SECTION)
class AugmentationConfig:
    """How far training images are changed at random, each way; 0 is off. Mirroring is missing on purpose: it exchanges
    left and right, which reports name.

    `rotation` in degrees, `shift` as a share of the side, `scale` and `contrast` as a share of 1, `brightness` in
    standard deviations of the image. `sharpness` is the share of its detail that an image may lose, by a kernel drawn
    at random: collections differ in how their films were reduced. Preprocessing takes exposure out but for what borders
    and markers add to it, so little of the last two is enough.
    """

    rotation: float = Field(default=0.0, ge=0, le=45)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    scale: float = Field(default=0.0, ge=0, le=0.5)
    brightness: float = Field(default=0.0, ge=0, le=5)
    contrast: float = Field(default=0.0, ge=0, le=0.9)
    sharpness: float = Field(default=0.0, ge=0, le=0.9)


@dataclass(frozen=True, slots=True, config=SECTION)
class TrainingConfig:
    """The optimisation. Losses are summed with these weights, the token loss with weight 1; `box_weight` is that of
    the boxes and `attribute_weight` that of what is known of patient and exposure, where a collection has them. To tell
    these is of no use by itself, but what it takes to do so a few thousand films teach better than their noisy labels.

    `place_dropout` is how often a decoder that sees the images is not told where the findings of a report lie, so that
    it learns to look. `teachers` are folders of finished runs; in studies of the sources they learnt from,
    their mean probability takes the place of a label by `teacher_weight`, and entirely where there is none (Hinton et
    al. 2015, arXiv:1503.02531).

    `batch_size` counts the studies of one step over all processes; each process takes its part in `accumulation`
    pieces. The encoder learns at `encoder_rate_factor` × `learning_rate`, and not at all in the first `frozen_epochs`;
    its first `frozen_layers` (of convolutional encoders) never do. `start_from` is the folder of a finished run with
    the same encoder and findings, whose encoder and finding head this one starts with.
    With `mixup`, images are blended by pairs, their labels with them, by shares drawn from Beta(`mixup`, `mixup`)
    (Zhang et al. 2018, arXiv:1710.09412): only where the decoder does not look at them.
    `source_balance` and `class_balance` are how far rare sources and findings are repeated (`training.sampling`).
    The best epoch by `monitor` on the validation split is kept; after `patience` epochs without a better one training
    ends (0: never early). The state to resume from is saved every `save_minutes` and every `save_steps` (0: off).
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    accumulation: int = Field(default=1, ge=1)
    precision: Literal["auto", "bf16", "f32"] = "auto"
    learning_rate: float = Field(default=1e-3, ge=0)
    encoder_rate_factor: float = Field(default=1.0, ge=0)
    frozen_epochs: int = Field(default=0, ge=0)
    frozen_layers: int = Field(default=0, ge=0)
    start_from: str = ""
    weight_decay: float = Field(default=0.05, ge=0)
    warm_up: float = Field(default=0.05, ge=0, le=1)
    label_smoothing: float = Field(default=0.05, ge=0, le=0.9)
    finding_weight: float = Field(default=1.0, ge=0)
    view_weight: float = Field(default=0.2, ge=0)
    box_weight: float = Field(default=0.0, ge=0)
    attribute_weight: float = Field(default=0.0, ge=0)
    place_dropout: float = Field(default=0.5, ge=0, le=1)
    teachers: tuple[str, ...] = ()
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=1)
    view_dropout: float = Field(default=0.1, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)
    source_balance: float = Field(default=0.0, ge=0, le=1)
    class_balance: float = Field(default=0.0, ge=0, le=1)
    ema_decay: float = Field(default=0.998, ge=0, le=1)
    monitor: Literal["loss", "tokens", "findings", "BLEU-4"] = "loss"
    patience: int = Field(default=0, ge=0)
    save_minutes: float = Field(default=10.0, ge=0)
    save_steps: int = Field(default=0, ge=0)
    seed: int = Field(default=1, ge=0, lt=2**63)


@dataclass(frozen=True, slots=True, config=SECTION)
class DecodingConfig:
    """The default decoding options the checkpoint ships with."""

    num_beams: int = 3
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for what the service would not take."""
        DecodingOptions(**asdict(self))


@dataclass(frozen=True, slots=True, config=SECTION)
class CardConfig:
    """What the checkpoint and its card say; `notes` are the paragraphs behind the card's figures, `failures` examples
    of what it gets wrong, `excluded_use` what it must not be used for. Of the training data, `encoder_data` is said
    only where the encoder started from `model.encoder_weights`, `held_back` only where `data.exclude` left out any."""

    name: str = "unnamed"
    version: str = "0"
    intended_use: str = "Research use only. Not for clinical use."
    training_data: tuple[str, ...] = ()
    encoder_data: str = ""
    held_back: str = ""
    made_by: str = ""
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    excluded_use: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config=SECTION)
class Config:
    """Everything a run depends on besides its data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    text: TextPolicy = field(default_factory=TextPolicy)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    card: CardConfig = field(default_factory=CardConfig)

    @property
    def decoding_options(self) -> DecodingOptions:
        """The decoding options the checkpoint ships with, whole."""
        return DecodingOptions(**asdict(self.decoding), max_new_tokens=self.model.max_new_tokens)

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """What the card says of the training data."""
        card = self.card
        held_back = card.held_back if self.data.exclude else ""
        encoder_data = card.encoder_data if self.model.encoder_weights else ""
        return (*card.training_data, *filter(None, (held_back, encoder_data)))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Section to key to value, as a TOML file has them."""
        return asdict(self)

    def portable(self) -> dict[str, dict[str, Any]]:
        """As `as_dict`, with files and folders by their names alone: where they lie is nobody else's business."""
        values = self.as_dict()
        for section, key in (("model", "encoder_weights"), ("data", "reports"), ("training", "start_from")):
            values[section][key] = Path(values[section][key]).name
        values["training"]["teachers"] = tuple(Path(folder).name for folder in self.training.teachers)
        return values

    def to_toml(self) -> str:
        """The file that `load_config` reads back to the same configuration. What JSON writes of it is TOML, too."""
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
        text = read_text(path)
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise ConfigError(f"no configuration {str(name)!r}; shipped ones: {known}") from error
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
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
    """A `Config` from nested mappings, lists standing for tuples. Raises `ConfigError`."""
    sections = get_type_hints(Config)
    for name, values in content.items():
        if name not in sections:
            raise ConfigError(f"unknown section [{name}]; known: {', '.join(sections)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{name}: expected a section of keys, got {values!r}")
    config = Config(**{name: _section(sections[name], name, values) for name, values in content.items()})
    if config.training.mixup and config.model.conditioning != "facts":
        raise ConfigError('training.mixup: only where model.conditioning is "facts"')
    return config


def _section(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    fields = kind.__pydantic_fields__
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {name}.{key}; known: {', '.join(fields)}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except ValidationError as invalid:
        raise ConfigError(_message(name, kind, invalid.errors(include_url=False)[0])) from invalid


def _message(section: str, kind: type[Any], error: ErrorDetails) -> str:
    """An error of pydantic's on one line: the key, the value and what it is not."""
    if not error["loc"]:  # a check of the section's own, which names the key
        return f"{section}.{error['ctx']['error']}"
    key = error["loc"][0]
    wanted = error["msg"].removeprefix("Input should be ").replace("a valid tuple", "a list")
    if "_than" in error["type"]:
        limits = kind.__pydantic_fields__[key].metadata
        wanted = " and ".join(f"{_BOUNDS[name]} {limit}" for item in limits for name, limit in asdict(item).items())
    return f"{section}.{key}: {error['input']!r} is not {wanted}"


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # also for numbers and lists beyond what Python reads
        return text
