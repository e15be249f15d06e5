"""The quarantine of queues, kept on the broker itself: lists are renamed, and given back by scripts of the server.

A script is one step for everybody else and for what the server writes to disk, so each message is in exactly one list at
any instant, whoever is killed. Keys, behind the application's prefix, none of which ever expires but the last:

    docuquery:quarantine                      hash: <attempt>:<queue> → "<messages> <since> <messages that came to it>"
    docuquery:quarantine:<attempt>:<queue>    list: the messages; the next one to be served is at its right end
    docuquery:quarantine:done:<attempt>       how many messages this attempt has moved or dropped; kept for a week
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..ports import Batch, CeleryTarget, Transient
from .celery import SEPARATOR, queue_keys, server_time
from .redis import FAILURES, Failed, ask, connected

PREFIX = "docuquery:quarantine"
CHUNK = 5000
# An attempt is looked for in the world until its incident is long over.
DONE_SECONDS = 7 * 24 * 3600
BATCHES_READ = 500
DIGEST_ENDS = 100

DIGEST = """
local function digest(key)
  local n = redis.call('LLEN', key)
  local d = tostring(n)
  local function add(from, to)
    for _, m in ipairs(redis.call('LRANGE', key, from, to)) do d = redis.sha1hex(d .. redis.sha1hex(m)) end
  end
  if n <= 2 * tonumber(ENDS) then add(0, -1) else add(0, ENDS - 1); add(-ENDS, -1) end
  return redis.sha1hex(d)
end
"""

# KEYS: index, done, then pairs of queue and list. ARGV: time, seconds, then the field of each pair.
MOVE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('GET', KEYS[2]) end
for i = 3, #KEYS, 2 do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'list' and kind ~= 'none' then return redis.error_reply('ERR ' .. kind .. ' is no queue') end
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then return redis.error_reply('ERR the batch exists already') end
end
local moved = 0
for i = 3, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 and redis.call('RENAMENX', KEYS[i], KEYS[i + 1]) == 1 then
    local n = redis.call('LLEN', KEYS[i + 1])
    redis.call('PERSIST', KEYS[i + 1])
    redis.call('HSET', KEYS[1], ARGV[(i - 3) / 2 + 3], n .. ' ' .. ARGV[1] .. ' 0')
    moved = moved + n
  end
end
redis.call('SET', KEYS[2], moved, 'EX', ARGV[2])
return moved
"""

# KEYS: index, done, list, queue. ARGV: field, chunk, seconds. What was held is older than what has come since, and a
# queue is served from its right end. Whichever of both is shorter goes to the other, so that the server is never long busy.
PUT_BACK = """
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 1 end
local count, since, came = string.match(record, '^(%d+) (%S+) (%d+)$')
local held, waiting, chunk = redis.call('LLEN', KEYS[3]), redis.call('LLEN', KEYS[4]), tonumber(ARGV[2])
local moved = held - tonumber(came)
if held > 0 then
  if waiting > 0 and held <= chunk then
    for _ = 1, held do redis.call('LMOVE', KEYS[3], KEYS[4], 'LEFT', 'RIGHT') end
  else
    local some = math.min(waiting, chunk)
    for _ = 1, some do redis.call('LMOVE', KEYS[4], KEYS[3], 'RIGHT', 'LEFT') end
    if some < waiting then
      redis.call('HSET', KEYS[1], ARGV[1], count .. ' ' .. since .. ' ' .. (came + some))
      redis.call('INCRBY', KEYS[2], 0)
      redis.call('EXPIRE', KEYS[2], ARGV[3])
      return 0
    end
    redis.call('RENAME', KEYS[3], KEYS[4])
  end
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('INCRBY', KEYS[2], moved)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# KEYS: index, done, then lists. ARGV: seconds, then count, digest and field of each list.
DROP = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
local dropped = 0
for i = 3, #KEYS do
  local at = (i - 3) * 3 + 2
  if tostring(redis.call('LLEN', KEYS[i])) ~= ARGV[at] or digest(KEYS[i]) ~= ARGV[at + 1] then return 0 end
  dropped = dropped + tonumber(ARGV[at])
end
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('HDEL', KEYS[1], ARGV[(i - 3) * 3 + 4])
end
redis.call('SET', KEYS[2], dropped, 'EX', ARGV[1])
return 1
"""

HELD = """
local found = {}
for i = 2, #KEYS do found[#found + 1] = {redis.call('LLEN', KEYS[i]), digest(KEYS[i])} end
return found
"""


class RedisQuarantine:
    """ports.Quarantine."""

    async def held(self, target: CeleryTarget, timeout: float) -> Sequence[Batch] | None:
        """The index, and of each list its length and digest."""
        try:
            async with asyncio.timeout(timeout), connected(target.redis, timeout) as connection:
                return await _held(connection, target)
        except FAILURES:
            return None

    async def done(self, target: CeleryTarget, attempt: str, timeout: float) -> int | None:
        """The counter of the attempt; Transient where the server does not say."""
        answer = await self._ask(target, timeout, "GET", _done(target, attempt))
        return None if answer is None else int(answer)

    async def move(self, target: CeleryTarget, attempt: str, timeout: float) -> None:
        """RENAMENX of each list, in one script."""
        now = await self._ask(target, timeout, "TIME")
        plain = [k.removeprefix(target.key_prefix) for k in queue_keys(target)]
        pairs = [k for q in plain for k in (target.key_prefix + q, _list(target, attempt, q))]
        fields = [f"{attempt}:{q}" for q in plain]
        keys = [_index(target), _done(target, attempt), *pairs]
        await self._script(target, timeout, MOVE, keys, [_text(now[0]), str(DONE_SECONDS), *fields])

    async def put_back(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        """One script for each batch; a long one takes several."""
        complete = True
        # The youngest first: the oldest batch ends up at the end that is served.
        for batch in sorted(batches, key=lambda b: -b.since):
            keys = [_index(target), _done(target, attempt), _list(target, batch.attempt, batch.queue)]
            keys.append(target.key_prefix + batch.queue)
            arguments = [f"{batch.attempt}:{batch.queue}", str(CHUNK), str(DONE_SECONDS)]
            complete = complete and await self._script(target, timeout, PUT_BACK, keys, arguments) == 1
            if not complete:
                break
        return complete

    async def drop(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        """All or none, and only while number and digest are those of the plan."""
        keys = [_index(target), _done(target, attempt), *(_list(target, b.attempt, b.queue) for b in batches)]
        arguments = [part for b in batches for part in (str(b.messages), b.digest, f"{b.attempt}:{b.queue}")]
        answer = await self._script(target, timeout, _with_digest(DROP), keys, [str(DONE_SECONDS), *arguments])
        return bool(answer == 1)

    async def _script(self, target: CeleryTarget, timeout: float, text: str, keys: list[str], arguments: list[str]) -> Any:
        return await self._ask(target, timeout, "EVAL", text, str(len(keys)), *keys, *arguments)

    async def _ask(self, target: CeleryTarget, timeout: float, *command: str) -> Any:
        try:
            async with asyncio.timeout(timeout), connected(target.redis, timeout) as connection:
                answer = await ask(connection, *command)
        except FAILURES as problem:
            raise Transient(f"the broker does not answer: {type(problem).__name__}", 5.0) from None
        if isinstance(answer, Failed):
            raise Transient(f"the broker refuses: {answer.message}"[:300], 5.0)
        return answer


async def _held(connection: Any, target: CeleryTarget) -> Sequence[Batch] | None:
    if isinstance(await server_time(connection), Failed):
        return None
    index = await ask(connection, "HGETALL", _index(target))
    if not isinstance(index, list):
        return None
    records = [(_text(index[i]).partition(":"), _text(index[i + 1]).split()) for i in range(0, len(index), 2)]
    named = sorted(
        ((attempt, queue, record[1]) for (attempt, _, queue), record in records if len(record) == 3), key=lambda r: r[2]
    )
    ours = [r for r in named if r[1].partition(SEPARATOR)[0] in target.queues][:BATCHES_READ]
    if not ours:
        return ()
    keys = [_index(target), *(_list(target, attempt, queue) for attempt, queue, _ in ours)]
    answer = await ask(connection, "EVAL", _with_digest(HELD), str(len(keys)), *keys)
    with suppress(TypeError, ValueError, IndexError):
        return tuple(
            Batch(attempt, queue, int(found[0]), float(since), _text(found[1]))
            for (attempt, queue, since), found in zip(ours, answer, strict=True)
        )
    return None


def _with_digest(script: str) -> str:
    return f"local ENDS = {DIGEST_ENDS}\n{DIGEST}{script}"


def _index(target: CeleryTarget) -> str:
    return target.key_prefix + PREFIX


def _done(target: CeleryTarget, attempt: str) -> str:
    return f"{target.key_prefix}{PREFIX}:done:{attempt}"


def _list(target: CeleryTarget, attempt: str, queue: str) -> str:
    return f"{target.key_prefix}{PREFIX}:{attempt}:{queue}"


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
