"""Readers: one a source layout, all yielding `Study` records."""
