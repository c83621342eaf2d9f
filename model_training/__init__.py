"""Training, evaluation and export of the checkpoints that `app` serves."""
