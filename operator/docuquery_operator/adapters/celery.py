"""Celery through its broker: remote control as workers speak it, and the keys that kombu's Redis transport keeps.

The protocol is kombu's pidbox (kombu/pidbox.py, kombu/transport/redis.py, checked with 5.7): a command is published on a
fanout channel, each worker pushes its reply on a list that a binding names. kombu's own client would wait a full second
for workers that may not exist; the number of listeners is known from PUBLISH, so nobody waits who need not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from ..ports import CeleryFacts, CeleryNode, CeleryTarget, CeleryTask, ResultsPage, TaskResult, Waiting
from .redis import FAILURES, Failed, ask, connected, failed

NAME = "docuquery-operator"
SEPARATOR = "\x06\x16"
PRIORITIES = range(10)
REPLIES = "reply.celery.pidbox"
COMMANDS = ("active", "stats", "reserved", "active_queues")
# Whoever listens and says nothing for so long is silent; a worker answers within some milliseconds.
SILENCE_SECONDS = 1.0
STALE_BINDING_SECONDS = 60
NODES_KEPT, TASKS_KEPT, NAMES_KEPT = 64, 50, 32
RESULT_BYTES = 32 * 1024
SCAN_COUNT = 100
RESULTS_KEPT = 2000
HELD_LOOKED_AT = 20

# Reads only. A message is known by its hash: what is in it stays on the server.
WAITING_SCRIPT = """
local function told(m)
  local task = string.match(m, '"task":%s*"([%w_.%-]+)"') or ''
  local sent = string.match(m, '"timestamp":%s*(%d+%.?%d*)') or ''
  local again = string.find(m, '"redelivered":%s*true') and '1' or '0'
  return task, sent, again
end
local queues, held, index = tonumber(ARGV[1]), KEYS[#KEYS - 1], KEYS[#KEYS]
local lengths, head, task, sent = {}, '', '', ''
for i = 1, queues do
  local n = redis.call('LLEN', KEYS[i])
  lengths[i] = n
  if n > 0 and head == '' then
    local m = redis.call('LINDEX', KEYS[i], -1)
    if #m > 65536 then m = string.sub(m, 1, 4096) .. string.sub(m, -61440) end
    head = redis.sha1hex(m)
    task, sent = told(m)
  end
end
local oldest = redis.call('ZRANGE', index, 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
local taken = {}
for i = 1, #oldest, 2 do
  local m = redis.call('HGET', held, oldest[i])
  local name, again = '', '0'
  if m then local _; name, _, again = told(string.sub(m, 1, 16) .. string.sub(m, -61440)) end
  taken[#taken + 1] = {oldest[i], oldest[i + 1], name, again}
end
return {lengths, head, task, sent, redis.call('ZCARD', index), taken}
"""


@dataclass(frozen=True)
class _Reply:
    ticket: str
    node: str
    body: Any


class RedisCelery:
    """ports.Celery."""

    async def ping(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        """Publish one command and stop as soon as every listener has answered."""
        return await self._asked(target, ("ping",), timeout)

    async def look(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        """All commands at once, on one connection."""
        return await self._asked(target, COMMANDS, timeout)

    async def _asked(self, target: CeleryTarget, commands: Sequence[str], timeout: float) -> CeleryFacts:
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout), connected(target.redis, timeout) as connection:
                facts = await _asked(connection, target, commands, timeout)
                return replace(facts, latency_ms=(time.monotonic() - began) * 1000)
        except FAILURES as problem:
            said = failed(problem, target.redis)
            return CeleryFacts(said.outcome, said.message)

    async def results(self, target: CeleryTarget, cursor: int, timeout: float) -> ResultsPage | None:
        """SCAN goes on where it was left; each step reads some hundred keys, and all of them a small share of a round."""
        try:
            async with asyncio.timeout(timeout), connected(target.redis, timeout) as connection:
                return await _results(connection, target, cursor)
        except FAILURES:
            return None


async def _asked(connection: Any, target: CeleryTarget, commands: Sequence[str], timeout: float) -> CeleryFacts:
    now = await server_time(connection)
    if isinstance(now, Failed):
        return CeleryFacts(now.outcome, now.message)
    async with _reply_list(connection, target, now) as listening:
        refused, oid, key = listening
        if refused is not None:
            return CeleryFacts(refused.outcome, refused.message)
        tickets = {uuid.uuid4().hex: command for command in commands}
        subscribed = 0
        for ticket, command in tickets.items():
            heard = await ask(connection, "PUBLISH", _channel(target), _message(command, ticket, oid))
            if not isinstance(heard, int):
                return CeleryFacts("auth", "workers cannot be asked: " + getattr(heard, "message", "PUBLISH is refused"))
            subscribed = max(subscribed, heard)
        waiting = None if commands == ("ping",) else await _waiting(connection, target, now)
        replies = await _collect(connection, key, tickets, subscribed, min(SILENCE_SECONDS, timeout / 2))
    nodes = _nodes(tickets, replies, now)
    complete = len(replies) >= subscribed * len(commands)
    return CeleryFacts("ok", subscribed=subscribed, nodes=nodes, complete=complete, waiting=waiting)


async def server_time(connection: Any) -> float | Failed:
    """The server's own time: the only clock that all ages are measured by."""
    await ask(connection, "CLIENT", "SETNAME", NAME)
    answer = await ask(connection, "TIME")
    if isinstance(answer, Failed):
        return answer
    if isinstance(answer, list) and len(answer) == 2:
        with suppress(TypeError, ValueError):
            return int(answer[0]) + int(answer[1]) / 1e6
    return Failed("error", "the answer to TIME makes no sense")


@asynccontextmanager
async def _reply_list(connection: Any, target: CeleryTarget, now: float) -> AsyncIterator[tuple[Failed | None, str, str]]:
    """A list for replies while the block runs. Replies that come later find no binding, and are dropped by the worker."""
    table = f"{target.key_prefix}_kombu.binding.{REPLIES}"
    oid = f"{NAME}.{int(now):x}.{uuid.uuid4().hex[:12]}"
    queue = f"{oid}.{REPLIES}"
    member, key = SEPARATOR.join((oid, "", queue)), target.key_prefix + queue
    answer = await ask(connection, "SADD", table, member)
    if isinstance(answer, Failed):
        yield answer, oid, key
        return
    try:
        yield None, oid, key
    finally:
        with suppress(*FAILURES):
            stale = await _stale(connection, table, now)
            await ask(connection, "SREM", table, member, *stale)
            await ask(connection, "DEL", key, *(target.key_prefix + s.rpartition(SEPARATOR)[2] for s in stale))


async def _stale(connection: Any, table: str, now: float) -> list[str]:
    """Bindings of ours that a process has left which was killed meanwhile."""
    answer = await ask(connection, "SSCAN", table, "0", "MATCH", f"{NAME}.*", "COUNT", "200")
    found = answer[1] if isinstance(answer, list) and len(answer) == 2 and isinstance(answer[1], list) else []
    old = []
    for member in (m.decode(errors="replace") for m in found if isinstance(m, bytes)):
        with suppress(ValueError, IndexError):
            if now - int(member.split(".")[1], 16) > STALE_BINDING_SECONDS:
                old.append(member)
    return old


def _channel(target: CeleryTarget) -> str:
    return f"{target.key_prefix}/{target.redis.database}.celery.pidbox"


def _message(command: str, ticket: str, oid: str) -> bytes:
    """One command as kombu writes it."""
    body = {"method": command, "arguments": {}, "destination": None, "pattern": None, "matcher": None, "ticket": ticket,
            "reply_to": {"exchange": REPLIES, "routing_key": oid}}  # fmt: skip
    properties = {
        "delivery_mode": 2,
        "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    message = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 1, "expires": 0},
        "properties": properties,
    }
    return json.dumps(message).encode()


async def _collect(
    connection: Any, key: str, tickets: Mapping[str, str], subscribed: int, patience: float
) -> dict[tuple[str, str], _Reply]:
    """Replies by ticket and node, until all have come or nobody has said anything for long enough."""
    found: dict[tuple[str, str], _Reply] = {}
    until = time.monotonic() + patience
    while len(found) < subscribed * len(tickets):
        left = until - time.monotonic()
        if left <= 0:
            break
        answer = await ask(connection, "BRPOP", key, f"{max(left, 0.01):.3f}")
        if not isinstance(answer, list) or len(answer) != 2:
            break
        for reply in _reply(answer[1]):
            if reply.ticket in tickets:
                found[reply.ticket, reply.node] = reply
    return found


def _reply(raw: Any) -> Iterable[_Reply]:
    """What one message says; nothing when it is no reply."""
    try:
        message = json.loads(raw)
        body = message["body"]
        if message.get("properties", {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        said = json.loads(body)
        return [_Reply(str(message["headers"]["ticket"]), str(n)[:128], b) for n, b in said.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _nodes(tickets: Mapping[str, str], replies: Mapping[tuple[str, str], _Reply], now: float) -> tuple[CeleryNode, ...]:
    said: dict[str, dict[str, Any]] = defaultdict(dict)
    for (ticket, node), reply in replies.items():
        said[node][tickets[ticket]] = reply.body
    return tuple(_node(name, said[name], now) for name in sorted(said)[:NODES_KEPT])


def _node(name: str, said: Mapping[str, Any], now: float) -> CeleryNode:
    stats = said["stats"] if isinstance(said.get("stats"), dict) else {}
    pool = stats["pool"] if isinstance(stats.get("pool"), dict) else {}
    total = stats["total"] if isinstance(stats.get("total"), dict) else {}
    return CeleryNode(
        name=name,
        pool=_pool(pool),
        slots=_whole(pool.get("max-concurrency")),
        begun=sum(_whole(n) for n in total.values()),
        active=tuple(_task(t, now) for t in _dicts(said.get("active"))[:TASKS_KEPT]),
        reserved=len(_dicts(said.get("reserved"))),
        queues=tuple(str(q.get("name", ""))[:128] for q in _dicts(said.get("active_queues"))[:NAMES_KEPT]),
    )


def _pool(pool: Mapping[str, Any]) -> str:
    """prefork, solo, thread, gevent or eventlet; '' where it does not say."""
    words = str(pool.get("implementation", "")).lower()
    return next((w for w in ("prefork", "solo", "thread", "gevent", "eventlet") if f".{w}:" in words), "")


def _task(said: Mapping[str, Any], now: float) -> CeleryTask:
    began = said.get("time_start")
    age = max(0.0, now - began) if isinstance(began, int | float) and math.isfinite(began) else None
    delivery = said.get("delivery_info")
    again = isinstance(delivery, dict) and delivery.get("redelivered") is True
    return CeleryTask(str(said.get("id", ""))[:64], str(said.get("name", ""))[:128], age, again)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def queue_keys(target: CeleryTarget) -> list[str]:
    """The lists of all queues and priorities, in the order in which workers serve them."""
    names = [(queue, priority) for priority in PRIORITIES for queue in target.queues]
    return [target.key_prefix + (f"{q}{SEPARATOR}{p}" if p else q) for q, p in names]


async def _waiting(connection: Any, target: CeleryTarget, now: float) -> Waiting | None:
    keys = queue_keys(target)
    all_keys = [*keys, f"{target.key_prefix}unacked", f"{target.key_prefix}unacked_index"]
    answer = await ask(
        connection, "EVAL", WAITING_SCRIPT, str(len(all_keys)), *all_keys, str(len(keys)), str(HELD_LOOKED_AT)
    )
    try:
        lengths, head, task, sent, held, taken = answer
        by_queue: Counter[str] = Counter(dict.fromkeys(target.queues, 0))
        for number, length in enumerate(lengths):
            by_queue[target.queues[number % len(target.queues)]] += length
        names = Counter(_text(t[2]) for t in taken if t[2])
        return Waiting(
            by_queue=dict(by_queue),
            head=_text(head)[:40],
            head_task=_text(task)[:128],
            sent_seconds=max(0.0, now - float(sent)) if sent else None,
            held=int(held),
            held_oldest=max(0.0, now - float(taken[0][1])) if taken else None,
            held_ids=tuple(_text(t[0])[:64] for t in taken[:5]),
            held_tasks={name[:128]: count for name, count in names.most_common(5)},
            redelivered=sum(t[3] == b"1" for t in taken),
        )
    except (TypeError, ValueError, IndexError):
        return None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


async def _results(connection: Any, target: CeleryTarget, cursor: int) -> ResultsPage | None:
    now = await server_time(connection)
    if isinstance(now, Failed):
        return None
    found: list[TaskResult] = []
    until = time.monotonic() + 0.05
    while True:
        step = ("SCAN", str(cursor), "MATCH", f"{_glob(target.result_prefix)}*", "COUNT", str(SCAN_COUNT))
        answer = await ask(connection, *step)
        if not isinstance(answer, list) or len(answer) != 2 or not isinstance(answer[1], list):
            return None
        cursor = int(answer[0])
        for key in answer[1]:
            raw = await ask(connection, "GETRANGE", key, "0", str(RESULT_BYTES))
            result = _result(key, raw, target.result_prefix)
            if result is not None:
                found.append(result)
        if cursor == 0 or len(found) >= RESULTS_KEPT or time.monotonic() > until:
            return ResultsPage(tuple(found), cursor, now)


def _glob(prefix: str) -> str:
    return "".join("\\" + c if c in "*?[]\\^" else c for c in prefix)


def _result(key: bytes, raw: Any, prefix: str) -> TaskResult | None:
    """How a task ended; None where it is not over, or is no result. What it returned is not looked at."""
    if not isinstance(raw, bytes):
        return None
    number = _text(key).removeprefix(prefix)[:64]
    try:
        said = json.loads(raw)
        status = said["status"]
    except (ValueError, TypeError, KeyError, RecursionError):
        # Longer than what was read: that it has failed stands at the beginning.
        return TaskResult(number, True) if raw.startswith(b'{"status": "FAILURE"') else None
    if status not in ("SUCCESS", "FAILURE"):
        return None
    problem = said.get("result") if status == "FAILURE" else None
    error = str(problem.get("exc_type", ""))[:128] if isinstance(problem, dict) else ""
    return TaskResult(
        number, status == "FAILURE", _since_epoch(said.get("date_done")), str(said.get("name") or "")[:128], error
    )


def _since_epoch(text: Any) -> float | None:
    """Celery writes UTC without saying so."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
