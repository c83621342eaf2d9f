"""What a decoder that is told facts alone learns once training is done: to say them."""
