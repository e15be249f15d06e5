"""What the local cluster tells a user when it cannot go on."""


class LocalClusterError(Exception):
    """One line that says what is wrong and what to do about it."""
