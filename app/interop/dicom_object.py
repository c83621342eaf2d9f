"""What every DICOM object made here has: patient, study, series, equipment, SOP common (PS3.3, C.7 and C.12)."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone

from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from app.interop.codes import OURS, Code
from app.interop.draft import MANUFACTURER, Draft
from app.interop.source import Source


def new_object(draft: Draft, source: Source, *, sop_class_uid: str, modality: str, series_number: int) -> Dataset:
    """An object in the study of its source, of a series and with UIDs that the same request always leads to."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    moment = _local(draft.created, source.utc_offset)
    made.InstanceCreationDate = made.ContentDate = moment.strftime("%Y%m%d")
    made.InstanceCreationTime = made.ContentTime = moment.strftime("%H%M%S")
    made.SOPClassUID = sop_class_uid
    made.SOPInstanceUID = draft.uid("instance", modality)
    made.StudyInstanceUID = source.study_uid
    made.SeriesInstanceUID = draft.uid("series", modality, source.study_uid)
    made.StudyID = source.study_id
    made.StudyDate, made.StudyTime = source.study_date, source.study_time
    made.AccessionNumber = source.accession
    made.ReferringPhysicianName = source.referring_physician
    made.PatientName, made.PatientID = source.patient_name, source.patient_id
    made.PatientBirthDate, made.PatientSex = source.birth_date, source.sex
    for keyword, value in (
        ("StudyDescription", source.study_description),
        ("IssuerOfPatientID", source.patient_id_issuer),
        ("TimezoneOffsetFromUTC", source.utc_offset),
    ):
        if value:
            setattr(made, keyword, value)
    made.Modality = modality
    made.SeriesNumber, made.InstanceNumber = series_number, 1
    made.SeriesDescription = f"AI draft: {draft.model}"[:64].rstrip()
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = draft.model_name[:64]
    made.SoftwareVersions = draft.model_version[:64]
    made.DeviceSerialNumber = draft.model_sha256[:64]
    scheme = Dataset()
    scheme.CodingSchemeDesignator = OURS
    scheme.CodingSchemeName = "Codes of xray-report"
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    made.CodingSchemeIdentificationSequence = [scheme]
    return made


def as_file(made: Dataset) -> bytes:
    """The object as a file by PS3.10, Explicit VR Little Endian."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def concept(code: Code) -> CodedConcept:
    """A code as DICOM writes it."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def _local(moment: datetime, utc_offset: str) -> datetime:
    """In the zone of the study's own times, or where it names none in that of this machine, as DICOM understands it."""
    if not utc_offset:
        return moment.astimezone()
    sign = -1 if utc_offset[0] == "-" else 1
    return moment.astimezone(timezone(sign * timedelta(hours=int(utc_offset[1:3]), minutes=int(utc_offset[3:]))))
