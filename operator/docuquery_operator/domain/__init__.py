"""Decisions: pure functions over facts. No I/O, no clock, no chance."""
