"""Pictures made by programs: phantoms of the chest, and what is none."""
