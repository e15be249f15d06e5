"""Failures with the status and the words of the real server."""


class QdrantError(Exception):
    """Answered as JSON with `status`."""

    status = 500

    def __init__(self, message: str) -> None:
        """Carry the text that the client gets to see."""
        super().__init__(message)
        self.message = message


class NotFoundError(QdrantError):
    """Something that the path names is not there."""

    status = 404


class WrongInputError(QdrantError):
    """The request makes no sense."""

    status = 400


class ConflictError(QdrantError):
    """It exists already."""

    status = 409


class NotSupportedError(QdrantError):
    """The real server could; this double says so instead of guessing."""

    status = 501


def missing_collection(name: str) -> NotFoundError:
    """The answer for an unknown collection."""
    return NotFoundError(f"Not found: Collection `{name}` doesn't exist!")
