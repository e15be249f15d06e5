"""redisAside: what of a Redis was set aside in its spare database."""

from __future__ import annotations

from typing import Any

from .. import shared
from ..base import ProbeContext


class RedisAsideProbe:
    """One look; a server without a spare database gives nothing."""

    name = "redisAside"
    doc = (
        "what lies in the spare database of a Redis: `state` (none, aside, replaced, foreign), `attempt` that has put it "
        "there, `sinceSeconds`, numbers of `keys` there and `liveKeys` in use; nothing without an answer or a spare database"
    )
    gives: tuple[str, ...] = ("state", "attempt", "sinceSeconds", "keys", "liveKeys")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        round_ = context.round
        host = await shared.address(round_, context.component)
        target = await shared.redis_target(round_, context.component, host) if host else None
        seen = await round_.ports.aside.look(target, round_.timeout) if target else None
        if seen is None:
            return {"summary": "no figures"}
        finding: dict[str, Any] = {"state": seen.state, "keys": seen.keys, "liveKeys": seen.live}
        finding["summary"] = f"{seen.live} keys in use, {seen.keys} in the spare database ({seen.state})"
        if seen.attempt:
            age = max(0.0, round_.now.timestamp() - seen.since)
            finding |= {"attempt": seen.attempt, "sinceSeconds": age}
            finding["summary"] += f" since {shared.age_words(age)}"
        return finding
