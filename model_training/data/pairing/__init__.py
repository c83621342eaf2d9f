"""Report sentences for images that have labels alone."""
