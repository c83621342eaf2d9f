"""Answers in the forms hospitals take: FHIR, DICOM and a page to print. Nothing of HTTP, settings or torch."""
