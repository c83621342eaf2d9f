"""`xray-report bulk`: reports on many studies, each once, by a service or by the model in this process."""
