"""One file a kind: read, decide, write once, act. No kind imports another."""
