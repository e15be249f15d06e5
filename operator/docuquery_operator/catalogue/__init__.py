"""The closed catalogue: one file a probe, one file an action. A new one touches its file, the list beside it, its test."""
