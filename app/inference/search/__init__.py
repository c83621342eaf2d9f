"""Beam search: choosing tokens, apart from running the network."""
