"""The inference service: from the bytes of a chest X-ray study to a draft report. Research use only."""
