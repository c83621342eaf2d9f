"""What things are called: SNOMED CT, LOINC, UCUM and DICOM, and codes of our own where none can be trusted.

SNOMED CT ids are those of DICOM's context groups, of IHE's examples, or in several public code sets.
"""

from __future__ import annotations

from dataclasses import dataclass

SCT, LOINC, DCM, UCUM, OURS = "SCT", "LN", "DCM", "UCUM", "99XRR"
# FHIR's names of the schemes (HL7 terminology). 99 marks a private one in DICOM (PS3.16, 8.2).
SYSTEMS = {
    SCT: "http://snomed.info/sct",
    LOINC: "http://loinc.org",
    DCM: "http://dicom.nema.org/resources/ontology/DCM",
    UCUM: "http://unitsofmeasure.org",
    OURS: "urn:xray-report:codes",
}


@dataclass(frozen=True, slots=True)
class Code:
    """A concept: `value` in `scheme` (DICOM's designator), and its `meaning` for a reader."""

    value: str
    scheme: str
    meaning: str


# Labels of image collections, and names of findings in reports, which mean the same where they share a line.
_FINDINGS: dict[tuple[str, ...], Code] = {
    ("abnormal",): Code("263654008", SCT, "Abnormal"),
    ("atelectasis",): Code("46621007", SCT, "Atelectasis"),
    ("cardiomegaly",): Code("8186001", SCT, "Cardiomegaly"),
    ("effusion", "pleural effusion"): Code("60046008", SCT, "Pleural effusion"),
    ("infiltration",): Code("409609008", SCT, "Radiologic infiltrate of lung"),
    ("mass",): Code("309529002", SCT, "Lung mass"),
    ("nodule",): Code("427359005", SCT, "Solitary nodule of lung"),
    ("pneumonia",): Code("233604007", SCT, "Pneumonia"),
    ("pneumothorax",): Code("36118008", SCT, "Pneumothorax"),
    ("consolidation",): Code("95436008", SCT, "Lung consolidation"),
    ("edema", "pulmonary edema"): Code("19242006", SCT, "Pulmonary edema"),
    ("emphysema",): Code("87433001", SCT, "Pulmonary emphysema"),
    ("fibrosis",): Code("51615001", SCT, "Fibrosis of lung"),
    ("hiatal hernia",): Code("84089009", SCT, "Hiatal hernia"),
}
FINDINGS = {name: code for names, code in _FINDINGS.items() for name in names}
SECTIONS = {"findings": Code("59776-5", LOINC, "Findings"), "impression": Code("19005-8", LOINC, "Impressions")}
PROCEDURES = {1: Code("36554-4", LOINC, "XR Chest Single view"), 2: Code("36643-5", LOINC, "XR Chest 2 Views")}
PROCEDURE = Code("30745-4", LOINC, "XR Chest Views")

CERTAINTY = Code("246103008", SCT, "Certainty")
PRESENT, NEGATIVE = Code("52101004", SCT, "Present"), Code("260385009", SCT, "Negative")
THORAX = Code("816094009", SCT, "Thorax")
SIDES = {
    "left": Code("7771000", SCT, "Left"),
    "right": Code("24028007", SCT, "Right"),
    "both": Code("51440002", SCT, "Bilateral"),
}
PROBABILITY = Code("122157", DCM, "Probability")
THRESHOLD = Code("threshold", OURS, "Decision threshold")
MEASUREMENTS = {"cardiothoracic_ratio": Code("ctr", OURS, "Cardiothoracic ratio")}
NO_UNITS = Code("1", UCUM, "no units")


def finding(name: str) -> Code:
    """The code of a finding by the checkpoint's name for it."""
    return FINDINGS.get(name) or local(name)


def measurement(name: str) -> Code:
    """The code of what is measured."""
    return MEASUREMENTS.get(name) or local(name)


def section(name: str) -> Code:
    """The code of a section of the report."""
    return SECTIONS.get(name) or local(name)


def procedure(images: int) -> Code:
    """The code of a chest radiograph of so many views."""
    return PROCEDURES.get(images, PROCEDURE)


def local(name: str) -> Code:
    """A code of our own: what no code set can be trusted to have. DICOM bounds the value to 16 characters."""
    words = name.replace("_", " ").strip()
    return Code(words.replace(" ", "-")[:16].rstrip("-"), OURS, words.capitalize()[:64])
