"""The model at work: checkpoint, tokenizer, beam search, engine. Torch and nothing of HTTP."""
