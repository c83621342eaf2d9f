"""Configurations: what is wrong is named, and the shipped ones are what they say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from app.text.findings import FINDINGS, IMAGE_LABELS
from model_training.config import SHIPPED, ConfigError, config_from, load_config
from model_training.data.readers.indiana import uid_of
from model_training.model.build import DECODERS
from model_training.model.encoders import ENCODERS

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.preciion='f32'", "unknown key training.preciion"),
        ("trainning.epochs=3", r"unknown section \[trainning\]"),
        ("training.epochs=0", "training.epochs: 0 is not at least 1"),
        ("training.epochs=2.5", "training.epochs: 2.5 is not a valid integer"),
        ("training.epochs=true", "training.epochs: True is not a valid integer"),
        ("training.clip_norm=0", "training.clip_norm: 0 is not above 0"),
        ("decoding.num_beams=9", "decoding.num_beams must be from 1 to 8"),
        ("training.view_dropout=2", "training.view_dropout: 2 is not at least 0 and at most 1"),
        ("training.learning_rate=nan", "training.learning_rate: nan is not a finite number"),
        ("training.precision=f16", "training.precision: 'f16' is not 'auto', 'bf16' or 'f32'"),
        ("text.prior_exams=drop", "text.prior_exams: 'drop' is not 'keep', "),
        ("data.exclude=[7]", "data.exclude: 7 is not a valid string"),
        ("data.exclude='7'", "data.exclude: '7' is not a list"),
        ("data.sections=['comparison']", "data.sections: 'comparison' is not 'findings' or 'impression'"),
        ("data.sections=[]", "data.sections: name at least one"),
        ("model.heads=5", "model.width: 192 is no multiple of model.heads, 5"),
        ("training.mixup=0.3", 'training.mixup: only where model.conditioning is "facts"'),
        ("epochs", "epochs"),
    ],
)
def test_what_is_wrong_is_named(override: str, named: str) -> None:
    """Every error says which key it is about."""
    with pytest.raises(ConfigError, match=named):
        load_config("phantom", [override])


def test_a_key_outside_of_a_section_is_named(tmp_path: Path) -> None:
    """As is a file that is no TOML, and a name that is not shipped."""
    (tmp_path / "flat.toml").write_text("epochs = 3\n")
    (tmp_path / "bad.toml").write_text("[training\n")
    with pytest.raises(ConfigError, match="unknown section \\[epochs\\]"):
        load_config(tmp_path / "flat.toml")
    with pytest.raises(ConfigError, match="model: expected a section"):
        config_from({"model": 3})
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_config(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="shipped ones: iu-xray, iu-xray-r2gen, phantom"):
        load_config("chexpert")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_configuration_names_what_there_is(name: str) -> None:
    """Encoder, decoder and findings exist, no key is another's default twice, and TOML carries it there and back."""
    config = load_config(name)
    assert config.model.encoder in ENCODERS
    assert config.model.decoder in DECODERS
    assert set(config.data.findings) <= {*FINDINGS, *IMAGE_LABELS}
    assert config_from(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize("name", ["iu-xray", "iu-xray-r2gen"])
def test_the_real_world_check_is_held_back(name: str, data_dir: Path) -> None:
    """The studies of every real image at hand, and four more, are excluded by id."""
    config = load_config(name)
    at_hand = {uid_of(path.name) for path in (data_dir / "iu_xray" / "images").iterdir()}
    assert at_hand | {"54", "176", "303", "1001"} == config.data.excluded
    assert config.data.findings == FINDINGS


def test_what_a_checkpoint_says_of_its_configuration_names_no_folders() -> None:
    """Files and folders go by their names, and the rest is as it was."""
    config = load_config("reference", ["data.reports=/some/where/iu_xray", "model.encoder_weights=/else/where/net.pt"])
    portable = config.portable()
    assert portable["data"]["reports"] == "iu_xray"
    assert portable["model"]["encoder_weights"] == "net.pt"
    assert portable["training"] == config.as_dict()["training"]
