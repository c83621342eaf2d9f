"""Lungs and heart: fitted after training, on films with masks, whatever the encoder of a run."""
