"""Out-of-distribution detection: fitted after training, on the features of a run."""
