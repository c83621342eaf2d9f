"""The draft for machines: a Comprehensive 3D SR by TID 1500, a measurement group a finding.

TID 1500 is what IHE AI Results and OHIF read. OHIF demands more of it than the template: an image library, tracking
identifier and UID in every group, and below every number coordinates in an image. So the numbers of a finding in a
place are inferred from that place, which its group names besides, and those of a finding without one from the whole
of the first image that was read, which they were.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from highdicom import sr
from highdicom.sr import utils
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom
from pydicom.uid import Comprehensive3DSRStorage

from app.interop import codes
from app.interop.codes import Code
from app.interop.dicom_object import as_file, concept, new_object
from app.interop.draft import LABELS_NOTE, MANUFACTURER, Draft, Finding, Place, derived_uid
from app.interop.source import Instance, Source

_Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations
_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_PIXELS = sr.CodedConcept("{pixels}", "UCUM", "Pixels")


def structured_report(draft: Draft, source: Source) -> bytes:
    """A DICOM file: complete, unverified, preliminary; patient and study are the source's."""
    made = new_object(draft, source, sop_class_uid=Comprehensive3DSRStorage, modality="SR", series_number=9001)
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    (root,) = _Content(draft, source).report()
    for element in root:
        made.add(element)
    made.CurrentRequestedProcedureEvidenceSequence, _ = utils.collect_evidence(
        [_reference(source, instance) for instance in source.instances], root, source.study_uid
    )
    return as_file(made)


def _reference(source: Source, instance: Instance) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID, made.SeriesInstanceUID = source.study_uid, instance.series_uid
    made.SOPClassUID, made.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return made


class _Content:
    """The tree below the root: language, observer, procedure, image library, measurement groups, texts."""

    def __init__(self, draft: Draft, source: Source) -> None:
        self._draft = draft
        self._instances = source.instances
        self._read = [i for i, image in enumerate(draft.images) if image.read] or [0]
        self._algorithm = sr.AlgorithmIdentification(draft.model_name, draft.model_version)

    def report(self) -> sr.MeasurementReport:
        """The whole tree."""
        draft = self._draft
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", draft.model_sha256),
            name=draft.model,
            manufacturer_name=MANUFACTURER,
            model_name=draft.model_name,
            serial_number=draft.model_sha256,
        )
        observer = sr.ObserverContext(observer_type=dicom.DCM.Device, observer_identifying_attributes=device)
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=concept(codes.procedure(len(draft.images))),
            imaging_measurements=list(self._groups()),
        )
        content = report[0].ContentSequence
        content.insert(len(content) - 1, self._image_library())
        for name, text in draft.sections.items():
            content.append(_text(codes.section(name), text or "-"))
        comment = Code("121106", codes.DCM, "Comment")
        for text in (f"AI draft. {draft.disclaimer} {LABELS_NOTE}", *draft.warnings):
            content.append(_text(comment, text))
        return report

    def _groups(self) -> Iterator[_Group]:
        draft = self._draft
        for finding in draft.decided:
            code = codes.finding(finding.name)
            if finding.places:
                yield from (self._region(finding, code, i, place) for i, place in enumerate(finding.places))
            else:
                yield self._group(finding, code)
        for i, one in enumerate(draft.measurements):
            code = codes.measurement(one.name)
            yield sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=self._tracking(one.name, "measurement", str(i)),
                finding_type=concept(code),
                algorithm_id=self._algorithm,
                measurements=[self._number(code, one.value, one.image)],
                source_images=[self._source(one.image)],
            )

    def _group(self, finding: Finding, code: Code) -> sr.MeasurementsAndQualitativeEvaluations:
        """A finding without a place, TID 1501."""
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding.name, "finding"),
            finding_type=concept(code),
            algorithm_id=self._algorithm,
            measurements=[self._number(*number, self._read[0]) for number in _numbers(finding)],
            qualitative_evaluations=[_certainty(finding)],
            source_images=[self._source(i) for i in self._read],
        )

    def _region(
        self, finding: Finding, code: Code, number: int, place: Place
    ) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
        """A finding in one place, TID 1410."""
        instance, image = self._instances[place.image], self._draft.images[place.image]
        left, right = (min(max(x, 0.0), image.width) for x in place.box[::2])
        top, bottom = (min(max(y, 0.0), image.height) for y in place.box[1::2])
        line = _rectangle(left, top, right, bottom)
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding.name, "finding", str(number)),
            referenced_region=sr.ImageRegion(
                sr.GraphicTypeValues.POLYLINE,
                line,
                sr.SourceImageForRegion(instance.sop_class_uid, instance.sop_instance_uid),
            ),
            finding_type=concept(code),
            finding_sites=[sr.FindingSite(concept(codes.THORAX), concept(codes.SIDES[place.side]))]
            if place.side
            else None,
            algorithm_id=self._algorithm,
            measurements=[
                sr.Measurement(name=concept(name), value=value, unit=concept(codes.NO_UNITS))
                for name, value in _numbers(finding)
            ],
            qualitative_evaluations=[_certainty(finding)],
        )
        # Without these OHIF shows the box, but does not take it over into its measurements. TID 1419 may be extended
        # by them; highdicom takes them in groups without a region only.
        for item in group[0].ContentSequence:
            if item.ValueType == "NUM":
                item.ContentSequence = sr.ContentSequence([self._enclosed(place.image, line)])
        return group

    def _number(self, name: Code, value: float, image: int) -> sr.Measurement:
        """A number inferred from the whole of an image."""
        picture = self._draft.images[image]
        whole = self._enclosed(image, _rectangle(0, 0, picture.width, picture.height))
        return sr.Measurement(
            name=concept(name), value=value, unit=concept(codes.NO_UNITS), referenced_coordinates=[whole]
        )

    def _enclosed(self, image: int, line: npt.NDArray[np.float64]) -> sr.CoordinatesForMeasurement:
        """What a closed line encloses in an image, as that from which a number is inferred."""
        instance = self._instances[image]
        return sr.CoordinatesForMeasurement(
            sr.GraphicTypeValues.POLYLINE,
            line,
            sr.SourceImageForRegion(instance.sop_class_uid, instance.sop_instance_uid),
        )

    def _source(self, image: int) -> sr.SourceImageForMeasurementGroup:
        instance = self._instances[image]
        return sr.SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid)

    def _tracking(self, name: str, *purpose: str) -> sr.TrackingIdentifier:
        return sr.TrackingIdentifier(self._draft.uid("tracking", name, *purpose), name)

    def _image_library(self) -> sr.ContainerContentItem:
        """TID 1600. highdicom's own asks a radiograph for pixel spacing, which many have not."""
        group = sr.ContainerContentItem(dicom.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
        group.ContentSequence = sr.ContentSequence()
        for instance in self._instances:
            image = sr.ImageContentItem(
                dicom.SCT.Source, instance.sop_class_uid, instance.sop_instance_uid, relationship_type=_CONTAINS
            )
            image.ContentSequence = sr.ContentSequence(
                [
                    sr.NumContentItem(name, value, _PIXELS, relationship_type=sr.RelationshipTypeValues.HAS_ACQ_CONTEXT)
                    for name, value in (
                        (dicom.DCM.PixelDataRows, instance.rows),
                        (dicom.DCM.PixelDataColumns, instance.columns),
                    )
                ]
            )
            group.ContentSequence.append(image)
        library = sr.ContainerContentItem(dicom.DCM.ImageLibrary, relationship_type=_CONTAINS)
        library.ContentSequence = sr.ContentSequence([group])
        return library


def _numbers(finding: Finding) -> Iterator[tuple[Code, float]]:
    yield codes.PROBABILITY, finding.probability
    if finding.threshold is not None:
        yield codes.THRESHOLD, finding.threshold


def _certainty(finding: Finding) -> sr.QualitativeEvaluation:
    value = codes.PRESENT if finding.present else codes.NEGATIVE
    return sr.QualitativeEvaluation(concept(codes.CERTAINTY), concept(value))


def _rectangle(left: float, top: float, right: float, bottom: float) -> npt.NDArray[np.float64]:
    """A closed line, f64[5,2], columns and rows from the outer corner of the first pixel (PS3.3, C.18.6.1.2)."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], np.float64)


def _text(name: Code, text: str) -> sr.TextContentItem:
    return sr.TextContentItem(concept(name), text, relationship_type=_CONTAINS)
