"""Pages of reviews as the operator writes them, at the end of simulated incidents: one with everything, one with nothing, one hostile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from docuquery_operator.ports import CONFIG_MAP, JSON, SECRET, STACK, Key
from tests.controllers.test_notifications import CONTACTS, PATH, resolve, rig, run_for
from tests.fakes.rig import NAMESPACE, Rig
from tests.page.payloads import PAYLOADS

REVIEW = {
    "rootCause": "The disk of the database was full; nothing had warned of it.\nThe write-ahead log grew while a slot was left behind.",
    "lessons": ["Warn at 80 %", "A slot that nobody reads has to be seen: " + "pg_replication_slots_of_a_long_name_" * 3],
    "actions": [
        {"title": "Alarm on disk usage", "owner": "ana@example.org", "due": "2026-04-10"},
        {"title": "Drop slots that are left behind", "owner": "ben@example.org", "due": "2026-02-31"},
        {"title": "Write the runbook", "owner": "cem@example.org", "done": True},
    ],
}
CHANNELS = ("slack", "pagerduty", "phone", "email")


async def three() -> Mapping[str, str]:
    """Their HTML by name."""
    return {"full": await _full(), "bare": await _bare(), "hostile": await _hostile()}


async def _full() -> str:
    """A frozen postgres that is restarted, seen all the while, told to four groups, taken late, reviewed."""
    made, key = _healing("The database does not answer; every upload fails for all tenants of the shared cluster")
    ring = made.life.prober.ring(_stack(made)["metadata"]["uid"], "postgres")
    began = made.clock.now() - timedelta(minutes=8)
    for n in range(150):
        ring.add(began + timedelta(seconds=5 * n), not 96 < n < 128, 0.02 + (n % 7) / 100 + (3.0 if 96 < n < 100 else 0.0))
    made.freeze()
    await run_for(made, key, 12)
    made.edit_incident(key, lambda i: i["spec"].update(acknowledged={"by": "slack:U0123ABCD"}))
    await made.run(key, 600)
    await _reviewed(made, key, REVIEW)
    return _page(made, key)


async def _bare() -> str:
    """Nothing was seen, done, told or written."""
    made = rig()
    key = made.incident(severity="P0")
    await run_for(made, key, 10)
    resolve(made, key)
    await run_for(made, key, 20)
    return _page(made, key)


async def _hostile() -> str:
    """Every text of people is one that would be markup or script."""
    texts = iter(PAYLOADS)
    made = rig("email")
    key = made.incident(severity="P0", title=next(texts))
    await run_for(made, key, 10)
    made.edit_incident(key, lambda i: i["spec"].update(resolved={"by": "ana", "note": next(texts)}))
    await run_for(made, key, 20)
    lessons = [next(texts) for _ in range(20)]
    actions = [{"title": next(texts), "owner": next(texts), "due": "2026-04-10"} for _ in range(20)]
    await _reviewed(made, key, {"rootCause": " ".join(texts), "lessons": lessons, "actions": actions})
    return _page(made, key)


def _healing(title: str) -> tuple[Rig, Key]:
    made = Rig()
    communicating = rig(*CHANNELS)
    secrets = [o for o in communicating.server.all(SECRET) if o["metadata"]["name"].startswith("to-")]
    for secret in secrets:
        made.server.put(
            SECRET, {"metadata": {"name": secret["metadata"]["name"], "namespace": NAMESPACE}, "data": secret["data"]}
        )
    talk = {
        "contacts": CONTACTS,
        "channels": {c: {"secretRef": {"secretName": f"to-{c}"}} for c in CHANNELS},
        "escalation": PATH,
        "updates": {"team": "45s", "stakeholders": "90s"},
    }
    made.edit_stack(lambda s: s["spec"].update(communication=talk))
    return made, made.incident(severity="P0", title=title)


def _stack(made: Rig) -> JSON:
    found = made.server.find(STACK, NAMESPACE, "docuquery")
    assert found is not None
    return found


async def _reviewed(made: Rig, key: Key, review: JSON) -> None:
    made.edit_incident(key, lambda i: i["spec"].update(review=review))
    for _ in range(3):
        await made.once(key)


def _page(made: Rig, key: Key) -> str:
    found = made.server.find(CONFIG_MAP, NAMESPACE, f"{key.name}-report")
    assert found is not None
    return str(found["data"]["report.html"])
