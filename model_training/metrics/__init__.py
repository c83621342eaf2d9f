"""Scores of texts and of probabilities, with their intervals."""
