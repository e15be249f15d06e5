"""The status page: read-only, rendered on the server, in a process of its own."""
