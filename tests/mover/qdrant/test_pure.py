"""Names, archives and comparisons, without a server."""

import io
import tarfile

import pytest

from docuquery_operator.domain.backups.manifest import CollectionFacts
from docuquery_operator.mover import objects
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.qdrant.archive import Ending
from docuquery_operator.mover.qdrant.backup import object_name
from docuquery_operator.mover.qdrant.build import creation
from docuquery_operator.mover.qdrant.names import Live, Move, moves, parsed, restored, targets, unused
from docuquery_operator.mover.qdrant.records import record_hash

ID = "1a2b3c4d"


def saved(name: str, *aliases: str) -> CollectionFacts:
    """A collection of a set."""
    return CollectionFacts(
        name=name, config={}, aliases=list(aliases), status="green", points_before=1, points_after=1, shards=[]
    )


def test_a_name_of_an_object_is_a_key_whatever_the_collection_is_called() -> None:
    """Different ones stay different."""
    names = ["documents", "a b", "a=20b", "ä", "a.b", ".hidden", "%2F", "x" * 255, "x" * 254 + "y", "é" * 120]
    made = [object_name(name, 3) for name in names]
    assert len(set(made)) == len(names)
    assert all(objects._NAME.fullmatch(each) for each in made), made
    assert made[0] == "qdrant/documents/3.tar"


def archive(size: int) -> bytes:
    """A tar with one file, zeros but for its ends."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(b"a" + bytes(size - 2) + b"z"))
    return made.getvalue()


@pytest.mark.parametrize("step", [1, 100, 512, 1000, 1 << 20])
def test_the_end_of_a_tar(step: int) -> None:
    """However it comes in pieces; a cut within zeros is no end."""
    data = archive(40_000)

    def whole(content: bytes) -> bool:
        ending = Ending()
        for start in range(0, len(content), step):
            ending.feed(content[start : start + step])
        return ending.whole

    end = 512 + 40_448 + 1024
    assert whole(data)
    assert whole(data[:end])
    assert not any(whole(data[:cut]) for cut in (0, 512, 512 * 20, 512 * 40, end - 512))
    assert not whole(b"\xff" * 10_240)


def test_a_hash_is_the_same_from_server_and_engine() -> None:
    """One tells 32-bit floats by their shortest text, the other as 64-bit floats; maps have no order."""
    told = record_hash(7, {"a": 1, "b": [2.5]}, [0.38275582, 0.27359417])
    assert told == record_hash("7", {"b": [2.5], "a": 1}, [0.3827558159828186, 0.2735941708087921])
    assert told != record_hash(7, {"a": 1, "b": [2.5]}, [0.38275582, 0.2735942])
    named = {"x": [1.0, 2.0], "s": {"indices": [5, 1], "values": [0.5, 0.25]}, "m": [[1.0], [2.0]]}

    class Sparse:
        indices = [1, 5]
        values = [0.25, 0.5]

    assert record_hash(1, None, named) == record_hash(1, {}, {"m": [[1.0], [2.0]], "s": Sparse(), "x": [1.0, 2.0]})


def test_names_say_whose_they_are() -> None:
    """And never grow from restore to restore."""
    assert parsed(restored("documents", ID)) == ("documents", "r", ID)
    assert parsed("documents") is None
    assert targets([saved("documents__r_00000001")], ID) == {"documents__r_00000001": f"documents__r_{ID}"}
    both = targets([saved("documents"), saved("documents__r_00000001")], ID)
    assert both == {"documents": f"documents__r_{ID}", "documents__r_00000001": f"documents__r_00000001__r_{ID}"}
    for name, reason in (("x" * 250, "NameTooLong"), ("x", "BadRestoreId")):
        with pytest.raises(MoverError) as error:
            restored(name, ID if reason == "NameTooLong" else "../../etc")
        assert error.value.reason == reason


def test_what_has_to_lead_where() -> None:
    """Aliases where the set has them, the own name where not, and what would go with a collection that makes room."""
    new = f"documents__r_{ID}"
    live = Live(frozenset({"documents"}), {"live": "documents"})
    assert moves([saved("documents", "live")], live, ID) == [Move("live", new, "documents")]
    covered = [Move("documents", new, "documents"), Move("live", new, "documents")]
    assert moves([saved("documents")], live, ID) == covered
    assert [move.covered for move in covered] == [True, False]
    gone = moves([saved("documents", "live")], Live(frozenset()), ID)
    assert gone == [Move("documents", new, ""), Move("live", new, "")]
    copies = Live(frozenset({"documents__r_00000001", "documents__p_00000001"}), {"documents": "documents__r_00000001"})
    assert unused(copies) == ["documents__p_00000001"]


def test_what_a_collection_is_made_with() -> None:
    """Names differ between what is told and what is asked; what is null stays the server's default."""
    config = {
        "params": {"vectors": {"size": 8, "distance": "Dot", "on_disk": None}, "shard_number": 2, "read_fan_out_factor": 3},
        "optimizer_config": {"indexing_threshold": 100, "max_segment_size": None},
        "hnsw_config": {"m": 16},
        "quantization_config": None,
    }
    assert creation(config) == {
        "vectors": {"size": 8, "distance": "Dot"},
        "shard_number": 2,
        "optimizers_config": {"indexing_threshold": 100},
        "hnsw_config": {"m": 16},
    }
    from tests.doubles.qdrant.openapi.check import Document

    assert Document().request_problems("PUT", "/collections/x", creation(config)) == []
