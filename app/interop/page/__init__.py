"""The page: the draft as a PDF for paper and viewers."""
