"""Settings: one frozen object from the environment, or an error that names the variable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app import settings as module
from app.settings import Settings, SettingsError, load_settings, unknown_variables


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


HOSTILE = (
    *("", " ", "nan", "inf", "-inf", "1e400", "-1", "-1e-9", "0", "1e-300", "1e11", "1e308", "70000", "100000"),
    *(str(10**9), str(2**31), str(2**63), str(2**64), "9" * 5000, "0x10", "1_000", "٣", "½", "true", "None", "[]"),
    *("*", "::", "0", "00000", "0x0", "1.1", "127.1", "256.1.1.1", "[::1]", "a b", "a..b", "-a", "a" * 64, "a\nb"),
    *("cuda:", "cuda:1000", "cuda:٣", "cpu\n", "\udcff", "é", "loud", "a" * 300, "1.2.3.4/99", "," * 3),
)
VALUES: tuple[Any, ...] = (
    *HOSTILE,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    1e308,
    True,
    None,
    b"\0",
    "\0",
    [],
    {},
    object(),
)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_hostile_values(name: str) -> None:
    """Whatever a setting is given, it is refused in one line that names it, or kept within its range."""
    field = Settings.model_fields[name]
    bounds = {key: getattr(one, key) for one in field.metadata for key in ("ge", "le") if hasattr(one, key)}
    for value in VALUES:
        kept, said = outcome(name, value)
        if said:
            assert f"XRAY_REPORT_{name.upper()}" in said, value
            assert len(said.splitlines()) == 1
        elif bounds and kept is not None:
            assert math.isfinite(kept)
            assert bounds["ge"] <= kept <= bounds["le"]


def outcome(name: str, value: object) -> tuple[Any, str]:
    """What a setting is then, and what is said of it where it cannot be."""
    try:
        return getattr(load_settings(**{"checkpoint": "m.pt", name: value}), name), ""
    except SettingsError as error:
        return None, str(error)


def test_numbers_end_somewhere() -> None:
    """Just beyond either end of its range a number is refused; at the ends it is kept."""
    for name, field in Settings.model_fields.items():
        bounds = {key: getattr(one, key) for one in field.metadata for key in ("ge", "le") if hasattr(one, key)}
        assert bounds.keys() == ({"ge", "le"} if field.annotation in (int, float, int | None) else set())
        others = {"max_body_bytes": 2**30, "stall_seconds": 0.5} if bounds else {}
        for key, beyond in (("ge", -1), ("le", 1)) if bounds else ():
            with pytest.raises(SettingsError, match=f"XRAY_REPORT_{name.upper()}: "):
                load_settings(checkpoint="m.pt", **{**others, name: bounds[key] + beyond})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "web-1.example.org", "3f2a1b4c5d6e"],  # noqa: S104  # on purpose
)
def test_hosts(host: str) -> None:
    """An address or a name is taken as it is."""
    assert load_settings(checkpoint="m.pt", host=host).host == host


@pytest.mark.parametrize("host", ["", " ", "*", "0", "00000", "0x0", "0X7f", "1.1", "127.1", "a.0x0", "[::1]", "a..b"])
def test_no_hosts(host: str) -> None:
    """What the system would read as every address, or as another than it looks like, is refused."""
    with pytest.raises(SettingsError, match=r"^XRAY_REPORT_HOST: "):
        load_settings(checkpoint="m.pt", host=host)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"stall_seconds": 20.0, "hang_seconds": 20.0}, "HANG_SECONDS"),
        ({"stall_seconds": 30.0}, "HANG_SECONDS"),
        ({"hang_seconds": 2.0}, "HANG_SECONDS"),
        ({"max_rows": 7}, "MAX_ROWS"),
        ({"rate_limit_per_minute": 1e-5}, "RATE_LIMIT_PER_MINUTE"),
    ],
)
def test_relations(given: dict[str, float], named: str) -> None:
    """Settings that contradict each other are refused."""
    with pytest.raises(SettingsError, match=f"^XRAY_REPORT_{named}: "):
        load_settings(checkpoint="m.pt", **given)


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
