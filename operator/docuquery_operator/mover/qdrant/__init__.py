"""Qdrant: snapshots, facts, drill, restore beside, alias switch."""
