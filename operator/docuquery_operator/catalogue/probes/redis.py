"""Probes of Redis: one look at the server a round, told as four findings."""

from __future__ import annotations

from typing import Any

from ...ports import RedisClient, RedisFacts
from .. import shared
from ..base import ProbeContext

# A pool keeps idle connections for minutes; whoever holds one for longer has forgotten it.
OLD_IDLE_SECONDS = 300
# No connection is kept for whoever wants to help: once the last is taken, the operator cannot get in either.
FULL_PERCENT = 95.0
CLIENTS_TOLD = 200
NOBODY = ("refused", "timeout", "unreachable", "no_address", "no_credentials")


async def facts(context: ProbeContext) -> RedisFacts:
    """One look at the server through its Service."""

    async def read() -> RedisFacts:
        host = await shared.address(context.round, context.component)
        if not host:
            return RedisFacts("no_address", "the Service is missing or has no endpoint")
        return await _look(context, host)

    found: RedisFacts = await context.round.once(("redis", context.name), read)
    return found


async def _look(context: ProbeContext, host: str) -> RedisFacts:
    target = await shared.redis_target(context.round, context.component, host)
    if target is None:
        return RedisFacts("no_credentials", "the Secret with the password is missing")
    return await context.round.ports.redis.look(target, context.round.timeout)


class RedisReady:
    """Connects anew, PING, a write that changes nothing; where nobody answers also straight to the pod."""

    name = "redisReady"
    doc = (
        "a new connection, PING, and a write that changes nothing: `ok`, `outcome` (ok, refused, timeout, unreachable, "
        "auth, loading, readonly, masterdown, misconf, oom, maxclients, busy, no_address, no_credentials, error), `direct`, "
        "the outcome at the pod's own address where nobody answers, and `server`, whichever of both is the server's own word"
    )
    gives: tuple[str, ...] = ("ok", "outcome", "direct", "server", "role", "slowCommands")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; all but the last two are always there."""
        seen = await facts(context)
        direct = await self._direct(context) if seen.outcome in NOBODY else ""
        said = next((o for o in (seen.outcome, direct) if o and o not in NOBODY), "")
        finding: dict[str, Any] = {"ok": seen.outcome == "ok", "outcome": seen.outcome, "direct": direct, "server": said}
        if seen.role:
            finding["role"] = seen.role
        if seen.slow_commands is not None:
            finding["slowCommands"] = seen.slow_commands
        text = f"{seen.outcome} in {seen.latency_ms:.0f} ms" if finding["ok"] else f"{seen.outcome}: {seen.message}"
        finding["summary"] = text + (f"; at the pod's own address: {direct}" if direct else "")
        return finding

    async def _direct(self, context: ProbeContext) -> str:
        pods = await shared.pods(context.round, context.component)
        host = next((p.ip for p in pods if p.ip and not p.terminating), "")
        return (await _look(context, host)).outcome if host else ""


class RedisClients:
    """Clients connected, and who holds connections that nothing has been asked through for long."""

    name = "redisClients"
    doc = (
        "clients connected: `exhausted` when the server lets nobody in or has less than a twentieth left; `idleOld` were "
        "not used for 5m, wait for nothing and watch nothing, `byComponent` by the workloads that hold them; only "
        "`exhausted` when the server let nobody in, nothing when it does not answer"
    )
    gives: tuple[str, ...] = ("used", "max", "usedPercent", "exhausted", "blocked", "idleOld", "clients", "byComponent")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; only 'exhausted' when the server let nobody in."""
        seen = await facts(context)
        if seen.outcome == "maxclients":
            return {"exhausted": True, "summary": "the server takes no client more, not even the operator"}
        if seen.used is None or not seen.max_clients:
            return {"summary": "no figures"}
        percent = round(100 * seen.used / seen.max_clients, 1)
        finding: dict[str, Any] = {
            "used": seen.used,
            "max": seen.max_clients,
            "usedPercent": percent,
            "exhausted": percent >= FULL_PERCENT,
        }
        if seen.blocked is not None:
            finding["blocked"] = seen.blocked
        finding["summary"] = f"{seen.used} of {seen.max_clients} clients"
        if seen.clients is not None:
            finding |= await self._idle(context, seen.clients)
            finding["summary"] += f", {finding['idleOld']} idle for more than {OLD_IDLE_SECONDS // 60}m"
        return finding

    async def _idle(self, context: ProbeContext, clients: tuple[RedisClient, ...]) -> dict[str, Any]:
        old = [c for c in clients if c.idle_seconds >= OLD_IDLE_SECONDS]
        addresses = [c.address.rpartition(":")[0].strip("[]") for c in old]
        return {
            "idleOld": len(old),
            "byComponent": await shared.client_counts(context.round, addresses),
            "clients": [
                {"id": c.id, "address": c.address, "name": c.name, "command": c.command, "ageSeconds": c.age_seconds,
                 "idleSeconds": c.idle_seconds}
                for c in clients[:CLIENTS_TOLD]
            ],
        }  # fmt: skip


class RedisMemory:
    """Memory used, its bound, and what the server does at the bound."""

    name = "redisMemory"
    doc = (
        "`oom` when the server refuses writes for want of memory, and what it uses of its bound; all but `oom` only when "
        "the server answers"
    )
    gives: tuple[str, ...] = ("oom", "usedBytes", "limitBytes", "usedPercent", "policy", "evictedKeys")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'oom' is always there."""
        seen = await facts(context)
        finding: dict[str, Any] = {"oom": seen.outcome == "oom", "summary": "no figures"}
        if seen.memory_bytes is None or seen.memory_limit is None:
            return finding
        finding |= {"usedBytes": seen.memory_bytes, "limitBytes": seen.memory_limit, "policy": seen.policy}
        bound = f"{seen.memory_limit / 2**20:.0f} MiB ({seen.policy})" if seen.memory_limit else "no bound"
        finding["summary"] = f"{seen.memory_bytes / 2**20:.1f} MiB of {bound} in use"
        if seen.memory_limit:
            finding["usedPercent"] = round(100 * seen.memory_bytes / seen.memory_limit, 1)
        if seen.evicted is not None:
            finding["evictedKeys"] = seen.evicted
            finding["summary"] += f", {seen.evicted} keys evicted"
        return finding


class RedisPersistence:
    """Whether the server reads its data back, and whether it could write them down lately."""

    name = "redisPersistence"
    doc = (
        "`loading` while the server reads its data back, `misconf` when it refuses writes because it cannot save; the last "
        "save and the log only when the server answers"
    )
    gives: tuple[str, ...] = ("loading", "misconf", "rdbError", "aofError")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'loading' and 'misconf' are always there."""
        seen = await facts(context)
        finding: dict[str, Any] = {
            "loading": seen.outcome == "loading" or bool(seen.loading),
            "misconf": seen.outcome == "misconf",
        }
        known = {"rdbError": seen.rdb_error, "aofError": seen.aof_error}
        finding |= {k: v for k, v in known.items() if v is not None}
        bad = [words for key, words in _WORDS.items() if finding.get(key)]
        finding["summary"] = "; ".join(bad) or ("saves" if "rdbError" in finding else "no figures")
        return finding


_WORDS = {
    "loading": "reads its data back",
    "misconf": "refuses writes because it cannot save",
    "rdbError": "the last snapshot failed",
    "aofError": "the last write to the append-only file failed",
}
