"""The human MeSH codes of the Indiana collection, and the findings they mean.

A code reads `heading/qualifier/qualifier`: `Pleural Effusion/left/small`. Indexers wrote the codes of a study from its
findings and its impression together (Demner-Fushman et al., JAMIA 2016, doi 10.1093/jamia/ocv080).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.text.findings import MIDLINE, Mention

# One pattern a finding, matched from the first character of a code in lower case. Headings seen in fewer than ten
# training studies join a group only where they mean the same thing; the rest (osteopenia, kyphosis, prominent
# mediastinum, image quality) belong to no finding.
MESH: dict[str, str] = {
    "cardiomegaly": r"cardiomegaly|(cardiac shadow|heart( ventricles| atria)?)\b.*/(enlarged|prominent)",
    "pleural effusion": r"pleural effusion|(hydro|hemo)(pneumo)?thorax",
    # Increased density within the lung. A round one is a nodule, an interstitial one is increased markings, and one
    # of the chest wall, the mediastinum or the abdomen is none of these.
    "airspace opacity": r"airspace disease|consolidation|pneumonia\b"
    r"|(opacity|density|infiltrate)(?!.*/(round|interstitial|artifact|breast|thorax|abdomen|mediastinum))",
    "atelectasis": r"pulmonary atelectasis|volume loss",
    "nodule": r"nodule|mass\b|(opacity|density).*/round",
    # Old granulomatous disease: granulomas, and calcified lymph nodes or specks of the lung.
    "calcified granuloma": r"(calcified )?granuloma|calcinosis.*/(lung|lymph nodes|hilum|mediastinum|paratracheal)",
    "pneumothorax": r"(hydro|hemo)?pneumothorax",
    "elevated diaphragm": r"diaphragm\b.*/elevated|diaphragmatic eventration",
    "hyperinflation": r"lung/.*hyperdistention|(pulmonary |bullous )?emphysema|pulmonary disease, chronic obstructive"
    r"|lung, hyperlucent|diaphragm\b.*/flattened|blister",
    "low lung volumes": r"lung/.*hypoinflation",
    "pulmonary edema": r"pulmonary (edema|congestion)|heart failure",
    "increased markings": r"markings|(opacity|infiltrate|lung|thickening)/.*(interstitial|reticular)"
    r"|lung diseases, interstitial|(pulmonary )?fibrosis",
    "scarring": r"cicatrix|thickening.*/pleura",
    "costophrenic angle blunting": r"costophrenic angle/.*blunted",
    "degenerative spine": r"(spine|(thoracic |lumbar |cervical )?vertebrae)/.*degenerative|spondylosis|osteophyte"
    r"|arthritis/.*(spine|vertebrae)|hyperostosis",
    "atherosclerosis": r"atherosclerosis|calcinosis.*/(aorta|blood vessels|coronary)",
    "aortic tortuosity": r"aorta\b.*/(tortuous|enlarged|prominent)|aortic aneurysm",
    # The deformities of these bones are what reports call old, healed or compression fractures.
    "fracture": r"fractures, bone|deformity/.*(ribs|vertebrae|clavicle|humerus|sternum)",
    "scoliosis": r"scoliosis",
    "hiatal hernia": r"hernia, hiatal",
    # Anything man-made that shows: lines, tubes, pacemakers, clips, stents, implants, bullets.
    "device": r"catheters, indwelling|surgical instruments|(implanted )?medical device|tube, inserted|stents|sutures"
    r"|spinal fusion|breast implants|foreign bodies",
}
_MESH = {finding: re.compile(pattern) for finding, pattern in MESH.items()}


def label_mesh(codes: Iterable[str]) -> dict[str, Mention]:
    """Findings that the MeSH codes of one study name, all present, with the sides the codes give.

    `normal`, `No Indexing` and headings outside the table name none.
    """
    sides: dict[str, frozenset[str]] = {}
    for code in codes:
        name = code.strip().lower()
        for finding, pattern in _MESH.items():
            if pattern.match(name):
                sides[finding] = sides.get(finding, frozenset()) | _sides_of_code(name)
    return {
        finding: Mention(finding, "present", frozenset() if finding in MIDLINE else where)
        for finding, where in sides.items()
    }


def _sides_of_code(name: str) -> frozenset[str]:
    parts = set(name.split("/"))
    if "bilateral" in parts:
        return frozenset({"left", "right"})
    # Indexers also write `middle lobe` for the left midlung, so a side that is named outranks one that is implied.
    implied = {"left"} if "lingula" in parts else {"right"} if "middle lobe" in parts else set[str]()
    return frozenset(parts & {"left", "right"} or implied)
