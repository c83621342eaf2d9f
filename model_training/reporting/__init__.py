"""What people read of an evaluation: tables, cards, galleries."""
