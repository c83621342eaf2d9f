"""What reports are made of: tokens, sentences, findings, and what a text says of them. Nothing of torch."""
