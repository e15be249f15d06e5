"""Maintenance windows: when they are open, what they change, and their tasks in turn."""
