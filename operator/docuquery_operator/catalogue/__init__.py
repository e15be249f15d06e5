"""The closed catalogue: one file a probe, one file an action. Adding one touches its file, the list beside it, and its test."""
