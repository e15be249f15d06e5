"""One double for each test: what a test leaves behind is its own."""

import pathlib
import uuid
from collections.abc import Iterator

import pytest

from tests.stack.services import QdrantDouble, open_folder, prepared, running


@pytest.fixture(scope="session")
def folder() -> Iterator[pathlib.Path]:
    """One for the whole run."""
    with open_folder("mover-qdrant") as made:
        yield made


@pytest.fixture
def double(folder: pathlib.Path) -> Iterator[QdrantDouble]:
    """Empty, with a process of its own."""
    own = QdrantDouble(prepared(folder / uuid.uuid4().hex[:8]))
    with running(own):
        yield own


@pytest.fixture
def secrets(tmp_path: pathlib.Path) -> pathlib.Path:
    """Mounted Secrets: none."""
    return prepared(tmp_path / "secrets")
