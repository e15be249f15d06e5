"""Backup sets: their form in the store, what may be deleted, when runs are due. Pure."""
