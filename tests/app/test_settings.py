"""Settings: one frozen object from the environment, or an error that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app import settings as module
from app.settings import SettingsError, load_settings, unknown_variables


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with the prefix sets the field of its name."""
    monkeypatch.setenv("XRAY_REPORT_PORT", "9000")
    monkeypatch.setenv("XRAY_REPORT_LOG_LEVEL", "WARNING")
    settings = load_settings(checkpoint="model.pt")
    assert settings.port == 9000
    assert settings.log_level == "warning"
    assert settings.checkpoint == Path("model.pt")


def test_given_wins_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line gives stands before the environment."""
    monkeypatch.setenv("XRAY_REPORT_PORT", "9000")
    assert load_settings(checkpoint="model.pt", port=9001).port == 9001


def test_frozen() -> None:
    """Nobody changes a setting later."""
    settings = load_settings(checkpoint="model.pt")
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "tcp://10.0.0.1:8000"),
        ("port", "70000"),
        ("device", "tpu"),
        ("precision", "half"),
        ("checkpoint_sha256", "abc"),
        ("max_queue", "0"),
        ("max_pixels", "1000000000"),
        ("request_deadline_seconds", "0"),
        ("log_level", "loud"),
        ("api_key_hashes", "secret"),
    ],
)
def test_bad_values_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value that cannot be is an error that names its variable and does not repeat the value."""
    monkeypatch.setenv(f"XRAY_REPORT_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"^XRAY_REPORT_{name.upper()}: ") as raised:
        load_settings(checkpoint="model.pt")
    assert "secret" not in str(raised.value)


def test_checkpoint_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a setting, the only checkpoint in weights/ is served; none or several are an error."""
    monkeypatch.setattr(module, "_WEIGHTS", (tmp_path,))
    with pytest.raises(SettingsError, match="no checkpoint"):
        load_settings()
    (tmp_path / "a.pt").touch()
    assert load_settings().checkpoint == tmp_path / "a.pt"
    (tmp_path / "b.pt").touch()
    with pytest.raises(SettingsError, match="2 checkpoints"):
        load_settings()


def test_key_hashes() -> None:
    """Hashes come separated by commas, in either case."""
    hashes = load_settings(checkpoint="m.pt", api_key_hashes=f"{'A' * 64}, {'b' * 64},").api_key_hashes
    assert hashes == {"a" * 64, "b" * 64}


def test_typing_errors_are_found() -> None:
    """A variable that looks like a setting and is none is listed."""
    environment = {"XRAY_REPORT_PORT": "1", "XRAY_REPORT_PROT": "1", "PATH": ""}
    assert unknown_variables(environment) == ["XRAY_REPORT_PROT"]
