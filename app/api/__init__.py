"""HTTP and nothing else: no torch below this folder."""
