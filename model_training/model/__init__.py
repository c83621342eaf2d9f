"""The trainable network: encoders, decoders, and the report model that joins them."""
