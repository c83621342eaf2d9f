"""In-flight batching: studies from the queue to their answers, beside one device."""
