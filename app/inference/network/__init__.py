"""The network as the engine drives it: encoder, decoder, and where they run."""
