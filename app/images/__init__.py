"""From bytes to a greyscale image and what the file says of itself."""
