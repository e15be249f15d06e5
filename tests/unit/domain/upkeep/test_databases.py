"""What is said of a database's upkeep: figures before and after, ranked findings, and no success where nothing was done."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.reports.kept import LARGEST, text_of
from docuquery_operator.domain.upkeep.databases import (
    Done,
    HeldBack,
    IndexFacts,
    Looked,
    TableFacts,
    Upkeep,
    mib,
    outcome_of,
)

PAGE = 8192


def table(name: str = "events", **changes: Any) -> TableFacts:
    usual: dict[str, Any] = {"heap": 100 * PAGE, "indexes": PAGE, "live": 1000, "dead": 500, "age": 1000, "owner": "app"}
    return TableFacts(database="db", schema="public", name=name, **{**usual, **changes})


def done(*states: str, **changes: Any) -> Upkeep:
    tables = [table(f"t{n}") for n in range(len(states))]
    after = [table(f"t{n}", dead=0) for n in range(len(states))]
    made = Upkeep("vacuum", [Looked("db", tables)], [Looked("db", after, **changes)], grant="GRANT {owners} TO me")
    made.tables = {t.key: Done(s) for t, s in zip(tables, states, strict=True)}  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("done", "done"), "Succeeded"),
        (("done", "locked"), "Succeeded"),
        (("locked", "locked"), "Failed"),
        (("not allowed",), "Failed"),
        ((), "Succeeded"),
    ],
)
def test_nothing_done_is_no_success(states: tuple[str, ...], state: str) -> None:
    assert outcome_of(done(*states)).state == state


def test_figures_before_and_after_and_what_was_left_out() -> None:
    found = outcome_of(done("done", "locked", "not allowed", "not reached"))
    assert found.summary == "vacuum: 1 of 4 tables (1 locked, 1 not allowed, 1 not reached in time)"
    assert (found.figures["dead rows before"], found.figures["dead rows after"]) == (2000, 0)
    assert found.evidence[0].startswith("all tables: dead rows 2000 → 0")
    assert any(f.text == "GRANT app TO me" for f in found.findings)


def test_bloat_is_what_live_rows_would_not_need() -> None:
    # 28 bytes of header and 20 of columns are 48: 170 rows in a page, so 1000 rows are in six pages.
    assert table(width=20.0).bloat == (100 - 6) * PAGE
    assert table(width=20.0, fillfactor=50).bloat == (100 - 12) * PAGE
    assert table(width=20.0, heap=PAGE).bloat == 0
    assert table(width=None).bloat is None
    assert table(width=100_000.0, live=10, heap=200 * PAGE).bloat == 190 * PAGE


def test_what_a_person_should_know_stands_first_by_its_rank() -> None:
    invalid = IndexFacts("db", "public", "i", "public.t0", 1 << 20, valid=False)
    twin = IndexFacts("db", "public", "j", "public.t0", 1 << 20, twin="public.k")
    unused = IndexFacts("db", "public", "l", "public.t0", 5 << 20)
    found = outcome_of(
        done("done", indexes=(unused, invalid, twin), held_back=(HeldBack("session 5 of kim", 50_000), HeldBack("new", 3)),
             age=1_500_000_000)
    )  # fmt: skip
    ranks = [f.rank for f in found.findings]
    assert ranks == sorted(ranks, key=["Critical", "Warning", "Info"].index)
    texts = [f.text for f in found.findings]
    assert "1500000000 transactions old" in texts[0]
    assert any("session 5 of kim holds them back" in t for t in texts)
    assert not any("new holds" in t for t in texts)
    assert any("is invalid" in t for t in texts)
    assert any("does the same as public.k" in t for t in texts)
    assert any("never read" in t for t in texts)


def test_many_tables_fit_into_the_report() -> None:
    found = outcome_of(done(*["done"] * 3000))
    assert len(found.tables[0].rows) == 200
    assert len(text_of(found).encode()) <= LARGEST
    assert max(map(len, found.evidence)) <= 512


def test_sizes_for_people() -> None:
    assert [mib(n) for n in (0, 8192, 1 << 20, 5 << 30)] == ["0 KiB", "8 KiB", "1.0 MiB", "5120.0 MiB"]
