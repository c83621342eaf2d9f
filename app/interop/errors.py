"""Why an answer cannot be given in the form asked for."""

from __future__ import annotations


class NotExpressibleError(ValueError):
    """The study cannot be put in that form. The message is our own words: nothing of the patient's is in it."""
