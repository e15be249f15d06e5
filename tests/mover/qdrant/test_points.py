"""Ids of points read and orphans deleted, on a real process of the double."""

import pathlib
from collections.abc import AsyncIterator

import pytest

from docuquery_operator.mover.qdrant.points import delete_points, point_ids
from docuquery_operator.mover.reconcile import compared
from tests.mover.qdrant.memory import asked, count, fill, upsert
from tests.stack.services import QdrantDouble

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

UUID = "a0000000-0000-4000-8000-00000000000b"


async def test_cross_store(double: QdrantDouble, secrets: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """More points than a page of the scroll; orphans go, and nothing else."""
    fill(double, count=6_000, shards=2)
    upsert(double, "documents", [{"id": UUID, "vector": [1.0] * 16, "payload": {}}])

    async def documents() -> AsyncIterator[str]:
        for number in range(40, 6_010):
            yield str(number)

    request = asked(double)
    async with compared(point_ids(request, secrets, "documents"), documents(), tmp_path) as found:
        report = found.report()
        assert (report.missing, report.orphans) == (10, 41)
        assert await delete_points(request, secrets, "documents", found.ids("orphans")) == 41
    assert count(double, "documents") == 5_960
    left = [each async for each in point_ids(request, secrets, "documents")]
    assert len(left) == len(set(left)) == 5_960
    assert UUID not in left
