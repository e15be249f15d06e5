"""Passes that are lost, doubled, delayed or early, errors of the API server at random calls, a kill: the same end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.ports import Conflict, Key, Refused, Unavailable
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import VERIFY, Rig, condition, quiet, steps

# Dozens of whole stories in a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(120)
LIMIT = 3000.0
# A step that has not begun within its timeout (5m) is given up, so the passes may stay away for less than that.
SHUFFLED_FOR = 240.0
CALLS = 400
WRITES = ("create", "patch", "evict")
READS = ("get", "list", "dry-run", "logs", "served")
Entry = tuple[int, str]


@dataclass
class Troubles:
    """Errors by the number of the call, over all lives of the process; only calls of the API server can meet them."""

    errors: dict[int, str]
    calls: int = 0
    met: list[str] = field(default_factory=list)

    def meet(self, name: str, _number: int) -> BaseException | None:
        """The error of this call, if any; 409 is an answer to writes only."""
        verb = name.partition(" ")[0]
        if verb not in READS + WRITES:
            return None
        self.calls += 1
        what = self.errors.get(self.calls)
        if what is None or (what == "conflict" and verb not in WRITES):
            return None
        self.met.append(f"{what}: {name}")
        if what == "conflict":
            return Conflict("somebody wrote first")
        return Refused(403, "rights are missing") if what == "refused" else Unavailable("503")


def end_of(rig: Rig, key: Key) -> dict[str, Any]:
    """What must be the same however the passes came."""
    status = rig.status(key)
    ledger = rig.ledger() or {"metadata": {"annotations": {"ops.docuquery.ai/attempts": "[]"}}}
    attempts = json.loads(ledger["metadata"]["annotations"]["ops.docuquery.ai/attempts"])
    return {
        "phase": status.get("phase"),
        "reason": condition(status, "Resolved"),
        "cause": (status.get("cause") or {}).get("name"),
        "steps": steps(status),
        "attempts": len([s for s in status.get("steps", []) if s.get("attemptId")]),
        "ledger": [a.get("outcome") for a in attempts],
        "ledger of this incident": [a["id"] for a in attempts] == [s["attemptId"] for s in status.get("steps", [])],
        "held": bool((ledger.get("spec") or {}).get("holderIdentity")),
        "report": (status.get("report") or {}).get("configMap"),
    }


def restarts(rig: Rig) -> int:
    """Database pods that were made after the first one."""
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


def orders(rig: Rig) -> int:
    """Writes to the database's workload, and evictions of its pods."""
    return len([w for w in rig.server.writes if (w.plural, w.name) == ("statefulsets", "postgres")])


FROZEN = {
    "phase": "Resolved",
    "reason": "Healed",
    "cause": "ProcessDown",
    "steps": [("restartWorkload", "Healed")],
    "attempts": 1,
    "ledger": ["Healed"],
    "ledger of this incident": True,
    "held": False,
    "report": "db-down-report",
}
LEAKED = {**FROZEN, "cause": "TooManyConnections", "steps": [("terminateIdleSessions", "Healed")]}


async def story(
    rig: Rig, key: Key, rhythm: list[tuple[str, float]], troubles: Troubles | None = None, kills: list[int] | None = None
) -> None:
    """Drive the incident by a rhythm: what becomes of each call of the queue, over and over; at last as usual."""
    kills = list(kills or [])

    def begin() -> None:
        faults = Faults(kill_before=kills.pop(0) if kills else 0)
        faults.raise_for = troubles.meet if troubles else None
        rig.start(faults)

    begin()
    lives = len(rig.lives)
    began = rig.clock.now().timestamp()
    turn = 0
    while (age := rig.clock.now().timestamp() - began) < LIMIT:
        what, seconds = rhythm[turn % len(rhythm)] if age < SHUFFLED_FOR else ("run", 0.0)
        turn += 1
        after: float | None = seconds
        if what != "lost":
            # Together: two replicas at once, each of which believes that it leads.
            count = 2 if what == "together" else 1
            after = (await asyncio.gather(*(rig.once(key) for _ in range(count))))[-1]
            if what == "doubled":
                await rig.once(key)
        if len(rig.lives) != lives:
            begin()
            lives = len(rig.lives)
        status = rig.status(key)
        if quiet(after) and status.get("phase") == "Resolved" and "report" in status:
            break
        wait = 5.0 if after is None else after
        rig.clock.advance(max(0.05, {"early": min(wait, 0.3), "late": wait + seconds}.get(what, wait)))


TURNS = st.one_of(
    st.tuples(st.sampled_from(["run", "run", "doubled", "together", "early"]), st.just(0.0)),
    st.tuples(st.sampled_from(["lost", "late"]), st.floats(0.1, 40.0)),
)
RHYTHMS = st.lists(TURNS, min_size=1, max_size=12)
ERRORS = st.dictionaries(st.integers(1, CALLS), st.sampled_from(["conflict", "unavailable", "refused"]), max_size=25)
KILLS = st.lists(st.integers(1, 250), max_size=2)


async def test_the_reference() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await story(rig, key, [("run", 0.0)])
    assert end_of(rig, key) == FROZEN
    assert (restarts(rig), orders(rig)) == (1, 1)
    # The random calls below are calls that this story really makes.
    assert rig.life.faults.count > 100


@settings(max_examples=14, deadline=None, derandomize=True, database=None)
@given(rhythm=RHYTHMS)
async def test_shuffled_passes_heal_once(rhythm: list[tuple[str, float]]) -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await story(rig, key, rhythm)
    assert rig.crashes == []
    assert end_of(rig, key) == FROZEN
    assert (restarts(rig), orders(rig)) == (1, 1)


@settings(max_examples=24, deadline=None, derandomize=True, database=None)
@given(rhythm=RHYTHMS, errors=ERRORS, kills=KILLS)
async def test_errors_and_kills_between_shuffled_passes_heal_once(
    rhythm: list[tuple[str, float]], errors: dict[int, str], kills: list[int]
) -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    troubles = Troubles(errors)
    await story(rig, key, rhythm, troubles, kills)
    assert rig.crashes == []
    assert end_of(rig, key) == FROZEN, troubles.met
    assert (restarts(rig), orders(rig)) == (1, 1), troubles.met


def patient(rig: Rig) -> None:
    """Lost passes and refusals may take longer than the minute after which a step that never began is given up for the next."""
    causes = shipped()["DatabaseConnectionFailure"].to_wire()["causes"]
    for step in (s for c in causes if c["name"] == "TooManyConnections" for s in c["remediate"]):
        step["timeout"] = "10m"
    rig.put_runbook(verify=VERIFY, causes=causes)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(rhythm=RHYTHMS, errors=ERRORS, kills=KILLS)
async def test_leaked_sessions_are_ended_and_the_database_is_never_restarted(
    rhythm: list[tuple[str, float]], errors: dict[int, str], kills: list[int]
) -> None:
    rig = Rig()
    patient(rig)
    rig.idle_sessions(30)
    key = rig.incident()
    troubles = Troubles(errors)
    await story(rig, key, rhythm, troubles, kills)
    assert rig.crashes == []
    assert end_of(rig, key) == LEAKED, troubles.met
    assert (restarts(rig), orders(rig)) == (0, 0)
    ended = rig.database.ended
    assert len(ended) == len(set(ended)) == 25


@pytest.mark.parametrize(("what", "calls"), [("unavailable", 60), ("refused", 8), ("conflict", 60)])
async def test_a_long_outage_in_the_middle_is_only_a_delay(what: str, calls: int) -> None:
    """From one call on, wherever it is, so many calls fail: for two to four minutes."""
    for first in range(20, 200, 30):
        rig = Rig()
        rig.freeze()
        key = rig.incident()
        troubles = Troubles(dict.fromkeys(range(first, first + calls), what))
        await story(rig, key, [("run", 0.0)], troubles)
        assert troubles.met
        assert rig.crashes == []
        assert end_of(rig, key) == FROZEN, (first, troubles.met)
        assert (restarts(rig), orders(rig)) == (1, 1)


@pytest.mark.parametrize(
    "change", [{"healing": {"mode": "Off"}}, {"healing": {"mode": "Observe"}}, {"paused": True, "pauseReason": "x"}]
)
async def test_what_was_intended_but_not_begun_is_held_back_when_people_switch_off(change: dict[str, Any]) -> None:
    """The process dies between the intent and the ledger; meanwhile somebody says that nothing is to be done."""
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    faults = Faults()

    def dies(name: str, _number: int) -> BaseException | None:
        faults.dead = name.startswith("create leases")
        return KilledError() if faults.dead else None

    faults.raise_for = dies
    rig.start(faults)
    await rig.run(key, until=lambda _status: faults.dead)
    assert steps(rig.status(key)) == [("restartWorkload", "Intended")]
    rig.edit_stack(lambda s: s["spec"].update(change))
    await rig.run(key, seconds=400)
    assert (restarts(rig), orders(rig)) == (0, 0)
