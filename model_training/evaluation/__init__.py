"""Reports for whole splits, and every way they are scored."""
