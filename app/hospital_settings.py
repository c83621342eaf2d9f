"""The settings of DICOMweb and of `xray-report pacs`: a part of `Settings`, in a file of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

_GIBIBYTE = 2**30
# PS3.5, table 6.2-1, AE: up to 16 characters of the default repertoire without backslash, not all spaces.
_AE_TITLE = r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?"
_PEER = re.compile(rf"(?P<title>{_AE_TITLE})@(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{{1,5}})")


class HospitalSettings(BaseSettings):
    """Fields of `Settings`."""

    dicomweb_url: str | None = Field(
        None,
        max_length=2000,
        description="The one DICOMweb server, as http://pacs:8042/dicom-web. None: none is asked.",
    )
    dicomweb_authorization: SecretStr | None = Field(
        None, description="What is sent to it as Authorization, as Basic or Bearer and the secret."
    )
    dicomweb_deadline_seconds: float = Field(
        20.0, ge=0.1, le=3600, description="For fetching the images of one study from it, and for storing an object."
    )

    pacs_service_url: str = Field(
        "http://127.0.0.1:8000", max_length=2000, description="The service that writes the reports."
    )
    pacs_service_key: SecretStr | None = Field(None, description="The API key sent to it.")
    pacs_folder: Path = Field(
        Path("xray-report-pacs"),
        description="Folder of what is remembered, and of studies received and not reported yet.",
    )
    pacs_modalities: Annotated[tuple[str, ...], NoDecode] = Field(
        ("CR", "DX"), min_length=1, max_length=8, description="Modalities of the images reported on, comma-separated."
    )
    pacs_poll_seconds: float = Field(
        10.0, ge=0, le=3600, description="How often the DICOMweb server is searched for studies; 0: never."
    )
    pacs_lookback_days: int = Field(
        1, ge=0, le=36_500, description="Studies dated so many days before today are looked at; 0: of any date or none."
    )
    pacs_stable_seconds: float = Field(
        60.0, ge=0.1, le=86_400, description="A study that has not changed for so long is taken to be complete."
    )
    pacs_max_pause_seconds: float = Field(
        300.0, ge=0.1, le=3600, description="The longest pause between two tries while the service or the PACS is away."
    )
    pacs_metrics_host: str = Field("127.0.0.1", min_length=1, max_length=253, description="Address of its metrics.")
    pacs_metrics_port: int = Field(9464, ge=0, le=65535, description="Port of its metrics; 0 takes a free one.")

    pacs_dicom_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which studies are received by C-STORE. None: not at all; 0: a free one.",
    )
    pacs_dicom_host: str = Field("127.0.0.1", min_length=1, max_length=253, description="Address of that port.")
    pacs_ae_title: str = Field("XRAYREPORT", description="The AE title called there, and under which we call.")
    pacs_calling_ae_titles: Annotated[tuple[str, ...], NoDecode] = Field(
        (), max_length=1000, description="The AE titles that may call, comma-separated. None: any."
    )
    pacs_peer: str | None = Field(
        None, description="Where reports are sent by C-STORE, as TITLE@host:port. None: to the DICOMweb server."
    )
    pacs_max_associations: int = Field(8, ge=1, le=1000, description="DICOM associations open at once.")
    pacs_max_received_bytes: int = Field(
        4 * _GIBIBYTE, ge=2**20, le=2**44, description="Bytes of received studies held on disk at once."
    )
    pacs_max_received_studies: int = Field(1000, ge=1, le=100_000, description="How many studies these may be.")

    @field_validator("dicomweb_url", "pacs_peer", "pacs_dicom_port", mode="before")
    @classmethod
    def _none_where_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("dicomweb_authorization", "pacs_service_key", mode="before")
    @classmethod
    def _check_secret(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not (value.isascii() and value.isprintable()):
            raise ValueError("must be printable ASCII characters")
        return value or None

    @field_validator("dicomweb_url", "pacs_service_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        return None if value is None else web_address(value)

    @field_validator("pacs_modalities", "pacs_calling_ae_titles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("pacs_modalities")
    @classmethod
    def _check_modalities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch("[A-Z0-9_]{1,16}", part) for part in value):
            raise ValueError("must be modalities as CR,DX")
        return value

    @field_validator("pacs_ae_title")
    @classmethod
    def _check_title(cls, value: str) -> str:
        return _title(value)

    @field_validator("pacs_calling_ae_titles")
    @classmethod
    def _check_titles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_title, value))

    @field_validator("pacs_peer")
    @classmethod
    def _check_peer(cls, value: str | None) -> str | None:
        if value is not None:
            parse_peer(value)
        return value

    @field_validator("pacs_folder", mode="before")
    @classmethod
    def _check_folder(cls, value: object) -> object:
        if str(value).strip() == "" or "\0" in str(value):
            raise ValueError("must name a folder")
        return value


def web_address(value: str) -> str:
    """The address of a service, without a slash at its end. Raises `ValueError`."""
    try:
        url = urlsplit(value)
        fits = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits or not value.isascii() or not value.isprintable() or " " in value or "?" in value or "#" in value:
        raise ValueError("must be an address as https://pacs.example/dicom-web")
    if "@" in value:
        raise ValueError("must hold no user or password; they belong into the setting for that")
    return value.rstrip("/")


def parse_peer(value: str) -> tuple[str, str, int]:
    """AE title, host and port. Raises `ValueError`."""
    found = _PEER.fullmatch(value)
    if not found or int(found["port"]) not in range(1, 65536):
        raise ValueError("must be a peer as TITLE@host:port")
    return found["title"], found["host"].strip("[]"), int(found["port"])


def _title(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(_AE_TITLE, value):
        raise ValueError("must be AE titles of 1 to 16 characters")
    return value
