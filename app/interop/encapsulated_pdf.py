"""The page as an Encapsulated PDF (PS3.3, A.45.1): what every viewer and PACS shows."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from app.interop.codes import LOINC, Code
from app.interop.dicom_object import as_file, concept, new_object
from app.interop.draft import Draft
from app.interop.source import Source

_TITLE = Code("18748-4", LOINC, "Diagnostic imaging study")


def encapsulated_pdf(draft: Draft, source: Source, page: bytes) -> bytes:
    """A DICOM file that carries the bytes of `page`, a PDF that names the patient."""
    made = new_object(draft, source, sop_class_uid=EncapsulatedPDFStorage, modality="DOC", series_number=9002)
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "YES"
    made.AcquisitionDateTime = ""
    made.DocumentTitle = made.SeriesDescription
    made.ConceptNameCodeSequence = [concept(_TITLE)]
    made.VerificationFlag = "UNVERIFIED"
    made.SourceInstanceSequence = []
    for instance in source.instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        made.SourceInstanceSequence.append(item)
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(page)
    made.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    return as_file(made)
