"""Report text as training may use it."""
