"""Whose study it is: what the headers of a request's DICOM files say together, cleaned for being written again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from app.interop.errors import NotExpressibleError

_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
_ZONE = re.compile(r"[+-](0[0-9]|1[0-4])[0-5][0-9]")
# A person's name has up to three groups, of so many characters each (PS3.5, 6.2).
_NAME_CHARACTERS, _NAME_GROUPS = 64, 3


@dataclass(frozen=True, slots=True)
class Instance:
    """One of the source images, as other objects refer to it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    modality: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A DICOM study of one patient. What the files have not, or not as DICOM allows, is "". Dates are YYYYMMDD, times
    HHMMSS, names in DICOM's notation of groups and components."""

    instances: tuple[Instance, ...]
    study_uid: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    accession: str
    referring_physician: str
    patient_name: str
    patient_id: str
    patient_id_issuer: str
    birth_date: str
    sex: str
    utc_offset: str

    @classmethod
    def of(cls, headers: Sequence[Dataset | None]) -> Source | None:
        """What the headers of a request's images have in common; None unless every image has one.

        Raises `NotExpressibleError` for images of different studies or patients.
        """
        known = [header for header in headers if header is not None]
        if not known or len(known) < len(headers):
            return None
        sources = [cls._of_one(header) for header in known]
        first = sources[0]
        if any(source.study_uid != first.study_uid for source in sources):
            raise NotExpressibleError("the images are of different studies")
        if any((s.patient_id, s.patient_name, s.birth_date) != first._patient for s in sources):
            raise NotExpressibleError("the images name different patients")
        instances = tuple(source.instances[0] for source in sources)
        return cls(**{name: getattr(first, name) for name in cls.__slots__} | {"instances": instances})

    @property
    def identified(self) -> bool:
        """Whether study, series and images have the UIDs that other objects refer to them by."""
        uids = (uid for one in self.instances for uid in (one.sop_class_uid, one.sop_instance_uid, one.series_uid))
        return all((self.study_uid, *uids))

    @property
    def _patient(self) -> tuple[str, str, str]:
        return self.patient_id, self.patient_name, self.birth_date

    @classmethod
    def _of_one(cls, header: Dataset) -> Source:
        instance = Instance(
            sop_class_uid=_uid(header, "SOPClassUID"),
            sop_instance_uid=_uid(header, "SOPInstanceUID"),
            series_uid=_uid(header, "SeriesInstanceUID"),
            modality=_text(header, "Modality", 16),
            rows=int(header.get("Rows") or 0),
            columns=int(header.get("Columns") or 0),
        )
        sex = _text(header, "PatientSex", 16)
        return cls(
            instances=(instance,),
            study_uid=_uid(header, "StudyInstanceUID"),
            study_id=_text(header, "StudyID", 16),
            study_date=_date(header, "StudyDate"),
            study_time=_matching(_TIME, header, "StudyTime"),
            study_description=_text(header, "StudyDescription", 64),
            accession=_text(header, "AccessionNumber", 16),
            referring_physician=_name(header, "ReferringPhysicianName"),
            patient_name=_name(header, "PatientName"),
            patient_id=_text(header, "PatientID", 64),
            patient_id_issuer=_text(header, "IssuerOfPatientID", 64),
            birth_date=_date(header, "PatientBirthDate"),
            sex=sex if sex in ("M", "F", "O") else "",
            utc_offset=_matching(_ZONE, header, "TimezoneOffsetFromUTC"),
        )


def _uid(header: Dataset, keyword: str) -> str:
    uid = UID(_text(header, keyword, 65))
    return str(uid) if uid.is_valid else ""


def _text(header: Dataset, keyword: str, characters: int) -> str:
    """The first value, in characters that every text of DICOM may have."""
    try:
        value = header.get(keyword)
        value = str((value[0] if isinstance(value, MultiValue) and value else value) or "")
    except Exception:  # bytes that are no text in the character set they claim to be in
        return ""
    value = re.split(r"\\", value, maxsplit=1)[0]
    clean = "".join(c for c in unicodedata.normalize("NFC", value) if unicodedata.category(c)[0] != "C")
    return clean.strip()[:characters].strip()


def _date(header: Dataset, keyword: str) -> str:
    """A day that there was."""
    value = _matching(_DATE, header, keyword)
    try:
        return f"{datetime.strptime(value, '%Y%m%d'):%Y%m%d}".zfill(8)  # noqa: DTZ007  # a day has no zone
    except ValueError:
        return ""


def _matching(pattern: re.Pattern[str], header: Dataset, keyword: str) -> str:
    value = _text(header, keyword, 16)
    return value if pattern.fullmatch(value) else ""


def _name(header: Dataset, keyword: str) -> str:
    groups = _text(header, keyword, 4 * _NAME_CHARACTERS).split("=")[:_NAME_GROUPS]
    return "=".join("^".join(group.split("^")[:5])[:_NAME_CHARACTERS].rstrip("^ ") for group in groups).rstrip("=")


def iso_date(value: str) -> str:
    """YYYYMMDD as 2026-01-31."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if value else ""


def family_and_given(group: str) -> tuple[str, str]:
    """The family name of one of a name's groups, and all the others in the order they are spoken."""
    family, given, middle, prefix, suffix = (part.strip() for part in [*group.split("^"), "", "", "", ""][:5])
    return family, " ".join(filter(None, (prefix, given, middle, suffix)))
