"""DICOM (PS3): from a file to a picture as a viewer shows it, and what its header says."""
