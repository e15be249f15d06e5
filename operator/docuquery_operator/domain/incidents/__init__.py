"""An incident from its opening to its review: what becomes of it in each pass."""
