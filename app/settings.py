"""Every setting of the service: one frozen object, read once from the environment and checked at start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from app.defaults import HOST, MAX_PORT, PORT
from app.hospital_settings import HospitalSettings
from app.inference.options import MAX_BEAMS, MAX_QUEUE, MAX_ROWS

PREFIX = "XRAY_REPORT_"
# Beside the working directory's weights/, those of the checkout this file stands in.
_WEIGHTS = (Path("weights"), Path(__file__).parent.parent / "weights")
_MEBIBYTE = 2**20
_MAX_THREADS = 512
# Labels of letters, digits and hyphens; what ends in a number would be read as an address in one of its old forms.
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?!([0-9]+|0x[0-9a-f]*)$)"
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    re.IGNORECASE | re.ASCII,
)


class SettingsError(ValueError):
    """The environment holds a value that cannot be; the message names the variable."""


def _default_checkpoint() -> Path:
    for folder in _WEIGHTS:
        found = sorted(folder.glob("*.pt"))
        if len(found) == 1:
            return found[0]
        if found:
            raise SettingsError(f"{PREFIX}CHECKPOINT: {folder} holds {len(found)} checkpoints; name one")
    raise SettingsError(f"{PREFIX}CHECKPOINT: not set, and there is no checkpoint in {_WEIGHTS[0].absolute()}")


def _origin(given: str) -> str:
    """An origin as browsers write it: in lower case, without the port that its scheme has anyway."""
    origin = given.lower()
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", origin)
    if not found or int(found[2] or 1) not in range(1, 65536):
        raise ValueError("must be * alone, or origins as https://viewer.example:8443, separated by commas")
    return origin.removesuffix({"http": ":80", "https": ":443"}.get(found[1], ""))


class Settings(HospitalSettings):
    """Each field is the environment variable XRAY_REPORT_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False)

    checkpoint: Path = Field(default_factory=_default_checkpoint, description="The TorchScript archive to serve.")
    checkpoint_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Its SHA-256; else read from the .sha256 file beside it."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$",
        description="auto, cuda, cuda:1 or cpu; auto takes the GPU when there is one.",
    )
    precision: Literal["auto", "exact", "fast"] = Field(
        "auto",
        description="exact is float32; fast runs in bfloat16 what is faster so, where the hardware can; auto is exact.",
    )
    threads: int = Field(
        default_factory=lambda: min(_MAX_THREADS, max(1, (os.cpu_count() or 1) - 1)),
        ge=1,
        le=_MAX_THREADS,
        description="Processor threads for the network: one core is left to the rest of the service.",
    )
    host: str = Field(HOST, min_length=1, max_length=253, description="Address or name to listen on.")
    port: int = Field(PORT, ge=0, le=MAX_PORT, description="Port to listen on; 0 takes a free one.")
    fronts: int = Field(
        1, ge=1, le=64, description="Processes that take requests; from 2 on before one of its own with the engine."
    )
    api_key_hashes: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        max_length=10_000,
        description="SHA-256 of each API key, hexadecimal, comma-separated. None: no key is asked for.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        max_length=1000,
        description="Addresses or networks of proxies whose X-Forwarded-For names the client, comma-separated.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        max_length=1000,
        description="Origins whose pages may call the service, as https://viewer.example, comma-separated; * is any.",
    )
    rate_limit_per_minute: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Requests (reports, previews) of one API key, or address, a minute, 0.01 or more; 0: no limit.",
    )
    rate_limit_burst: int = Field(10, ge=1, le=1_000_000, description="How many of them may come at once.")

    acceptance: Literal["refuse", "warn", "off"] = Field(
        "refuse",
        description="An image that is no chest X-ray: refuse the study, warn, or off; for checkpoints that can tell.",
    )

    max_body_bytes: int = Field(64 * _MEBIBYTE, ge=1024, le=1024 * _MEBIBYTE, description="Bytes of one request.")
    max_image_bytes: int = Field(32 * _MEBIBYTE, ge=1024, le=1024 * _MEBIBYTE, description="Bytes of one image file.")
    max_images: int = Field(4, ge=1, le=64, description="Images of one study; the checkpoint may allow fewer.")
    max_pixels: int = Field(
        40_000_000, ge=1, le=89_000_000, description="Pixels of one image; at most what Pillow takes for no bomb."
    )
    max_requests: int = Field(
        128, ge=1, le=10_000, description="Requests (reports, previews) in the house at once, uploads included."
    )
    max_buffered_bytes: int = Field(
        1024 * _MEBIBYTE, ge=1024, le=2**40, description="Bytes of all uploads and decoded images held at once."
    )
    max_queue: int = Field(MAX_QUEUE, ge=1, le=10_000, description="Studies waiting for the device.")
    max_rows: int = Field(MAX_ROWS, ge=MAX_BEAMS, le=1024, description="Beams on the device at once.")

    receive_deadline_seconds: float = Field(
        30.0,
        ge=0.001,
        le=3600,
        description="For a request's head to arrive, and then for its body.",
    )
    request_deadline_seconds: float = Field(
        60.0, ge=0.001, le=3600, description="From a request's last byte to its answer."
    )
    decode_deadline_seconds: float = Field(4.0, ge=0.001, le=600, description="For decoding one image.")
    decode_workers: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=64, description="Processes that decode images."
    )
    stall_seconds: float = Field(
        3.0,
        ge=0.01,
        le=3600,
        description="A turn of the engine longer than this makes /readyz fail; less than HANG_SECONDS.",
    )
    hang_seconds: float = Field(
        20.0,
        ge=1,
        le=3600,
        description="One longer than this, or nothing but failures so long, ends the process: exit code 70.",
    )
    drain_delay_seconds: float = Field(
        2.0,
        ge=0,
        le=600,
        description="After SIGTERM: time for balancers to see /readyz fail before connections are refused.",
    )
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="Then: time for what is in flight.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )

    @field_validator("log_level", "acceptance", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("api_key_hashes", mode="before")
    @classmethod
    def _split_hashes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return frozenset(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(str(ipaddress.ip_network(part.strip())) for part in value.split(",") if part.strip())

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.strip() == "*":
            return ("*",)
        return tuple(_origin(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _check_path(cls, value: object) -> object:
        if str(value).strip() == "" or "\0" in str(value):
            raise ValueError("must name a file")
        return value

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if not (_is_address(value) or _HOST_NAME.fullmatch(value)):
            raise ValueError("must be an address or a name, not empty; 0.0.0.0 and :: are every address")
        return value

    @field_validator("rate_limit_per_minute")
    @classmethod
    def _check_rate(cls, value: float) -> float:
        if 0 < value < 0.01:
            raise ValueError("must be 0 or at least 0.01")
        return value

    @field_validator("hang_seconds")
    @classmethod
    def _check_hang(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("stall_seconds", 0.0):
            raise ValueError(f"must be more than {PREFIX}STALL_SECONDS")
        return value

    @field_validator("api_key_hashes")
    @classmethod
    def _check_hashes(cls, value: frozenset[str]) -> frozenset[str]:
        if not all(re.fullmatch("[0-9a-f]{64}", part) for part in value):
            raise ValueError("must be SHA-256 sums of 64 hexadecimal digits, separated by commas")
        return value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def load_settings(**given: object) -> Settings:
    """Settings from the environment, those in `given` before it. Raises `SettingsError` naming each bad variable."""
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        problems = (
            f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise SettingsError("; ".join(problems)) from error


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that are no setting: a typing error more often than not."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
