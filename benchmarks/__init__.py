"""Contestants side by side, in one run. Results say on which machine and with which versions they were measured."""
