"""What the public may see, as pure values: no name of an object, no cause, no summary; only texts that are meant for it."""
