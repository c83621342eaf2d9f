"""The configuration of a training run: frozen dataclasses, filled from a TOML file and overrides."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

SHIPPED = Path(__file__).parent / "configs"


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
    condition_on_findings: bool = True
    max_new_tokens: int = 128


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which findings, sections and words the model learns."""

    findings: tuple[str, ...] = ()
    sections: tuple[str, ...] = ("findings", "impression")
    min_count: int = 1
    max_views: int = 4


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The optimisation. Losses are summed with these weights, the token loss with weight 1."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    label_smoothing: float = 0.05
    finding_weight: float = 1.0
    view_weight: float = 0.2
    view_dropout: float = 0.1
    clip_norm: float = 1.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """The default decoding options the checkpoint ships with."""

    num_beams: int = 3
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class CardConfig:
    """What the checkpoint says of itself."""

    name: str = "unnamed"
    version: str = "0"
    intended_use: str = "Research use only. Not for clinical use."
    training_data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on besides its data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    card: CardConfig = field(default_factory=CardConfig)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Section to key to value, as a TOML file has them."""
        return dataclasses.asdict(self)


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> Config:
    """A shipped configuration by name or one from a file, with `section.key=value` overrides (values as in TOML).

    Raises `ConfigError` for unknown sections and keys and for values of the wrong type.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = SHIPPED / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise ConfigError(f"no configuration {str(name)!r}; shipped ones: {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    for override in overrides:
        section, _, rest = override.partition(".")
        key, equals, value = rest.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} is not of the form section.key=value")
        content.setdefault(section, {})[key] = _toml_value(value)
    return config_from(content)


def config_from(content: Mapping[str, Any]) -> Config:
    """A `Config` from nested mappings. Raises `ConfigError`."""
    sections = {}
    hints = get_type_hints(Config)
    for name, values in content.items():
        if name not in hints:
            raise ConfigError(f"unknown section [{name}]; known: {', '.join(hints)}")
        sections[name] = _section(hints[name], name, values)
    return Config(**sections)


def _section(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"unknown key {name}.{key}; known: {', '.join(hints)}")
        default = {f.name: f.default for f in dataclasses.fields(kind)}[key]
        if isinstance(default, tuple) and isinstance(value, list | tuple):
            value = tuple(value)
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ConfigError(f"{name}.{key}: expected {type(default).__name__}, got {value!r}")
        checked[key] = value
    return kind(**checked)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
