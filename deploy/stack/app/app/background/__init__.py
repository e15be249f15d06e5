"""Work that happens after the answer."""
