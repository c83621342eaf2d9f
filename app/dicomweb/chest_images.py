"""Which images of a study a chest report can be written of, by what their headers say: frontal views first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.dicomweb.uids import is_uid

MODALITIES = ("CR", "DX")

# Tags as the DICOM JSON model names them, PS3.18 annex F.
STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
MODALITY, _BODY_PART, _VIEW = "00080060", "00180015", "00185101"
_FRAMES, _SERIES_NUMBER, _NUMBER, _INTENT = "00280008", "00200011", "00200013", "00080068"
TAGS = (
    STUDY_UID,
    SERIES_UID,
    SOP_UID,
    SOP_CLASS,
    MODALITY,
    _BODY_PART,
    _VIEW,
    _FRAMES,
    _SERIES_NUMBER,
    _NUMBER,
    _INTENT,
)

# PS3.4, table B.5-1: images as radiographs come; not those "for processing", which are raw.
_SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray, for presentation",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
}
# PS3.16, annex L, and what modalities write of their own.
_CHEST = {"CHEST", "THORAX", "RIBCAGE", "RIB", "RIBS", "LUNG", "LUNGS", "HEART", "STERNUM", "CHESTABDOMEN", "TRUNK"}
_FRONTAL = ("PA", "AP")
_LATERAL = ("LL", "RL", "LATERAL", "LAT")


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a study, by its header."""

    study: str
    series: str
    uid: str
    sop_class: str
    modality: str
    body_part: str = ""
    view: str = ""
    frames: int = 1
    raw: bool = False
    series_number: int = 0
    number: int = 0

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Instance | None:
        """From a data set in the DICOM JSON model; None where its identifiers are missing or not valid."""
        study, series, uid = (_value(header, tag) for tag in (STUDY_UID, SERIES_UID, SOP_UID))
        if not (is_uid(study) and is_uid(series) and is_uid(uid)):
            return None
        return cls(
            study,
            series,
            uid,
            _value(header, SOP_CLASS),
            _value(header, MODALITY).upper(),
            _value(header, _BODY_PART).upper(),
            _value(header, _VIEW).upper(),
            _number(header, _FRAMES, 1),
            _value(header, _INTENT).upper() == "FOR PROCESSING",
            _number(header, _SERIES_NUMBER),
            _number(header, _NUMBER),
        )


def choose(
    instances: Iterable[Instance], limit: int, modalities: Collection[str] | None = MODALITIES
) -> list[Instance]:
    """The images to send, at most `limit`; none where there is no image of the chest.

    Of these modalities, or any with None; single frames for presentation. An image said to show another part of the
    body is left out, one said to show the chest goes before one of which nothing is said. Frontal views come first,
    then unnamed ones, then lateral ones, and among them those taken first.
    """
    usable = {
        one.uid: one
        for one in instances
        if (modalities is None or one.modality in modalities)
        and one.sop_class in _SOP_CLASSES
        and one.frames <= 1
        and not one.raw
        and (one.body_part in _CHEST or not one.body_part)
    }
    return sorted(usable.values(), key=_rank)[:limit]


def _rank(one: Instance) -> tuple[bool, int, int, int, str]:
    view = 0 if one.view in _FRONTAL else 2 if one.view in _LATERAL else 1
    return not one.body_part, view, one.series_number, one.number, one.uid


def _value(header: Mapping[str, Any], tag: str) -> str:
    """An element's first value as text; "" where there is none."""
    element = header.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first).strip() if isinstance(first, str | int | float) else ""


def _number(header: Mapping[str, Any], tag: str, default: int = 0) -> int:
    try:
        return int(_value(header, tag))
    except ValueError:
        return default
