"""A real store and real encryption around the double: saved, proved, brought back."""

import pathlib

import pyrage
import pytest

from docuquery_operator.domain.backups.layout import Layout
from docuquery_operator.domain.backups.manifest import IntentNote
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.objects import SetReader, SetWriter
from docuquery_operator.mover.qdrant.backup import back_up
from docuquery_operator.mover.qdrant.drill import drill
from docuquery_operator.mover.qdrant.restore import restore_beside
from docuquery_operator.mover.qdrant.switch import switch
from tests.mover.conftest import Place
from tests.mover.qdrant.memory import Memory, asked, count, faults, fill, quiet
from tests.stack.services import QdrantDouble

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

SET = "20261125T020000Z-1a2b3c4d.1"


async def test_saved_proved_and_brought_back(
    double: QdrantDouble, secrets: pathlib.Path, volume: Place, tmp_path: pathlib.Path
) -> None:
    """Encrypted and compressed in between; only who has the key can prove or restore."""
    fill(double, "my docs ä", count=300)
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path / "identity"
    identity.write_text(str(key))
    store, layout = volume.open(), Layout("backups", "demo")
    writer = SetWriter(store, layout, SET, [str(key.to_public())], quiet)
    part = await back_up(asked(double), secrets, writer, quiet)
    assert [entry.name for entry in writer.entries] == ["qdrant/my=20docs=20=C3=A4/0.tar", "qdrant/my=20docs=20=C3=A4/1.tar"]
    manifest = Memory(entries={entry.name: entry for entry in writer.entries}).manifest(part)
    scratch = tmp_path / "scratch"
    reader = SetReader(store, layout, SET, identity, quiet)
    checks = await drill(part, reader, manifest, scratch, [])
    assert [check.name for check in checks if not check.ok] == []
    with pytest.raises(MoverError):
        await drill(part, SetReader(store, layout, SET, None, quiet), manifest, scratch, [])
    await restore_beside(part, manifest, asked(double), reader, "1a2b3c4d", secrets, quiet)
    await switch(part, asked(double), "1a2b3c4d", secrets, quiet)
    assert count(double, "my docs ä") == 300


async def test_a_short_archive_is_tried_again_under_another_key(
    double: QdrantDouble, secrets: pathlib.Path, volume: Place
) -> None:
    """A key that failed is never used again; what lies in the store is whole."""
    fill(double, count=50, shards=1)
    writer = SetWriter(volume.open(), Layout("backups", "demo"), SET, [], quiet)
    faults(double, short_download=20_480)
    with pytest.raises(MoverError, match="has not come whole"):
        await back_up(asked(double), secrets, writer, quiet)
    assert writer.entries == []

    class Mended(SetWriter):
        notes = 0

        async def note(self, note: IntentNote) -> None:
            """The second try's first note: from here on downloads are whole."""
            self.notes += 1
            if self.notes == 3:
                faults(double)
            await super().note(note)

    again = Mended(volume.open(), Layout("backups", "demo"), SET.replace(".1", ".2"), [], quiet)
    part = await back_up(asked(double), secrets, again, quiet)
    assert [shard.object for shard in part.collections[0].shards] == ["qdrant/documents/0-2.tar"]
    assert [entry.name for entry in again.entries] == ["qdrant/documents/0-2.tar"]
