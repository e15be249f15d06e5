"""Documents against points: exactly the true difference, in bounded memory."""

import os
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterable

import pytest

from docuquery_operator.mover.reconcile import compared, normal


async def stream(ids: Iterable[str]) -> AsyncIterator[str]:
    """One after the other."""
    for each in ids:
        yield each


def number(each: int) -> str:
    """A UUID."""
    return str(uuid.UUID(int=each << 80))


@pytest.mark.parametrize("disk", [True, False])
async def test_exactly_the_difference(tmp_path: pathlib.Path, disk: bool) -> None:
    """12000 documents, of which 37 have no point; 25 points have no document; both sides in any order."""
    documents = [number(each).upper() for each in reversed(range(12_000))]
    points = [number(each) for each in range(37, 12_025)]
    async with compared(stream(points), stream(documents), tmp_path if disk else None) as found:
        report = found.report()
        orphans = [each async for each in found.ids("orphans")]
        missing = [each async for each in found.ids("missing")]
    assert (report.missing, report.orphans) == (37, 25)
    assert report.missing_ids == sorted(number(each) for each in range(37))[:20]
    assert report.orphan_ids == sorted(number(each) for each in range(12_000, 12_025))[:20]
    assert set(orphans) == {number(each) for each in range(12_000, 12_025)}
    assert set(missing) == {number(each) for each in range(37)}
    assert list(tmp_path.iterdir()) == []


async def test_points_are_read_first(tmp_path: pathlib.Path) -> None:
    """A document that comes while we read must not make its point an orphan."""
    documents = ["1", "2"]
    order: list[str] = []

    async def points() -> AsyncIterator[str]:
        order.append("points")
        yield "1"
        yield "2"
        documents.append("3")
        yield "3"

    async def rows() -> AsyncIterator[str]:
        order.append("documents")
        for each in documents:
            yield each

    async with compared(points(), rows(), None) as found:
        assert (found.report().missing, found.report().orphans) == (0, 0)
    assert order == ["points", "documents"]


async def test_all_of_a_long_side(tmp_path: pathlib.Path) -> None:
    """More than one page; doubles and empty sides are no matter."""
    ids = [str(each) for each in range(12_345)]
    async with compared(stream([*ids, *ids]), stream([]), tmp_path) as found:
        assert found.report("DeleteOrphans").action == "DeleteOrphans"
        assert sorted([each async for each in found.ids("orphans")]) == sorted(ids)
        assert [each async for each in found.ids("missing")] == []


async def test_a_failing_source_leaves_no_file(tmp_path: pathlib.Path) -> None:
    """The error is its own."""

    async def broken() -> AsyncIterator[str]:
        yield "1"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        async with compared(stream(["1"]), broken(), tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_memory_is_bounded_on_disk(tmp_path: pathlib.Path) -> None:
    """300000 ids a side: sets of them would take more than 90 MiB."""

    def resident() -> int:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    points, documents = map(str, range(1_000_000, 1_300_000)), map(str, range(1_000_001, 1_300_001))
    async with compared(stream(points), stream(documents), tmp_path) as found:
        report = found.report()
        grown = resident() - before
    assert (report.missing_ids, report.orphan_ids) == (["1300000"], ["1000000"])
    assert grown < 56 << 20


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("7", "7"), ("007", "7"), (" 7 ", "7"), ("A0000000-0000-4000-8000-00000000000B", "a0000000-0000-4000-8000-00000000000b"),
        ("a00000000000400080000000000000ab", "a0000000-0000-4000-8000-0000000000ab"), ("z" * 36, "z" * 36), ("x'; DROP TABLE points", "x'; DROP TABLE points"),
    ],
)  # fmt: skip
def test_one_form_for_an_id(given: str, kept: str) -> None:
    """However the two servers write it."""
    assert normal(given) == kept
