"""Load and faults on a real server over loopback: what is lost, who is harmed, what memory does."""
