"""Phantom radiographs: synthetic chest X-ray studies with reports that say exactly what was drawn.

A body is a few dozen numbers (`Phantom`); solids and beads give it matter, line integrals and Beer-Lambert its
radiographs, templates its report. For trying, training and testing with no data at hand; no substitute for patients.
"""

from model_training.synthetic.phantom.body import (
    FINDINGS,
    Acquisition,
    DrawnFinding,
    Phantom,
    sample_finding,
    sample_phantom,
)
from model_training.synthetic.phantom.collection import (
    PhantomStudy,
    add_arguments,
    contact_sheet,
    encode,
    generate_study,
    run,
    write_collection,
)
from model_training.synthetic.phantom.projection import attenuation
from model_training.synthetic.phantom.render import render
from model_training.synthetic.phantom.text import mesh_codes, write_report

__all__ = [
    "FINDINGS",
    "Acquisition",
    "DrawnFinding",
    "Phantom",
    "PhantomStudy",
    "add_arguments",
    "attenuation",
    "contact_sheet",
    "encode",
    "generate_study",
    "mesh_codes",
    "render",
    "run",
    "sample_finding",
    "sample_phantom",
    "write_collection",
    "write_report",
]
