"""Setting all data of a Redis aside by SWAPDB: two databases change their numbers, in one step for every client.

Keys of ours:

    docuquery:aside        label of what lies in the spare database: hash with attempt, since, keys and state
    docuquery:aside:done   in the database in use: hash of the attempts that have had their effect; kept for a week
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..ports import Aside, RedisTarget
from .redis import FAILURES, Failed, ask, connected

# The last one of a server with its default of 16.
SPARE = 15
LABEL = "docuquery:aside"
DONE = f"{LABEL}:done"
DONE_SECONDS = 7 * 24 * 3600

# The first line lets a script run where the memory is used up: what it writes is a few bytes, and it may free much.
FLAGS = "#!lua flags=allow-oom\n"
# ARGV: live, spare, attempt, time, seconds, label, marks. The marks stay in the database in use, whatever it is.
HEAD = """
local live, spare, attempt, now, seconds, label, marks = unpack(ARGV, 1, 7)
redis.call('SELECT', live)
if redis.call('HEXISTS', marks, attempt) == 1 then return '' end
local known = redis.call('HGETALL', marks)
local function exchange(state)
  redis.call('SELECT', live)
  redis.call('DEL', marks)
  local keys = redis.call('DBSIZE')
  if keys > 0 then redis.call('HSET', label, 'attempt', attempt, 'since', now, 'keys', keys, 'state', state) end
  redis.call('SWAPDB', live, spare)
end
local function mark()
  redis.call('SELECT', live)
  for i = 1, #known, 2 do redis.call('HSET', marks, known[i], known[i + 1]) end
  redis.call('HSET', marks, attempt, now)
  redis.call('EXPIRE', marks, seconds)
  return ''
end
redis.call('SELECT', spare)
"""
SET_ASIDE = """
if redis.call('DBSIZE') > 0 then return 'the spare database is not empty' end
exchange('aside')
return mark()
"""
# ARGV 8, 9: attempt and number of keys that are meant.
SAME = """
if redis.call('HGET', label, 'attempt') ~= ARGV[8] or redis.call('DBSIZE') - 1 ~= tonumber(ARGV[9]) then
  return 'what lies aside is another by now'
end
"""
PUT_BACK = """
redis.call('DEL', label)
exchange('replaced')
return mark()
"""
DROP = """
redis.call('FLUSHDB', 'ASYNC')
return mark()
"""
# ARGV: live, spare, label, marks.
LOOK = """
redis.call('SELECT', ARGV[1])
local live = redis.call('DBSIZE') - redis.call('EXISTS', ARGV[4])
redis.call('SELECT', ARGV[2])
local keys = redis.call('DBSIZE')
local found = redis.call('HMGET', ARGV[3], 'attempt', 'since', 'state')
return {live, keys, found[1] or '', found[2] or '', found[3] or ''}
"""


class SwappedDatabases:
    """ports.RedisAside."""

    async def look(self, target: RedisTarget, timeout: float) -> Aside | None:
        """One script that reads."""
        answer = await _script(target, timeout, LOOK, str(target.database), str(SPARE), LABEL, DONE)
        if not isinstance(answer, list) or len(answer) != 5:
            return None
        live, keys, attempt, since, state = answer
        if not keys:
            return Aside("none", live)
        if not state:
            return Aside("foreign", live, keys)
        return Aside(_text(state), live, keys - 1, _text(attempt), _number(since))

    async def done(self, target: RedisTarget, attempt: str, timeout: float) -> bool | None:
        """Whether the mark is there."""
        try:
            async with asyncio.timeout(timeout), connected(target, timeout) as connection:
                answer = await ask(connection, "HEXISTS", DONE, attempt)
        except FAILURES:
            return None
        return bool(answer) if isinstance(answer, int) else None

    async def set_aside(self, target: RedisTarget, attempt: str, timeout: float) -> str:
        """Only into an empty database."""
        return await self._change(target, attempt, timeout, SET_ASIDE)

    async def put_back(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        """Only what the plan has named."""
        return await self._change(target, attempt, timeout, SAME + PUT_BACK, aside.attempt, str(aside.keys))

    async def drop(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        """Only what the plan has named; the memory is freed beside the server's work."""
        return await self._change(target, attempt, timeout, SAME + DROP, aside.attempt, str(aside.keys))

    async def _change(self, target: RedisTarget, attempt: str, timeout: float, script: str, *more: str) -> str:
        try:
            async with asyncio.timeout(timeout), connected(target, timeout) as connection:
                now = await ask(connection, "TIME")
        except FAILURES as problem:
            return f"the server does not answer: {type(problem).__name__}"
        if isinstance(now, Failed):
            return f"the server refuses: {now.message}"
        fixed = (str(target.database), str(SPARE), attempt, _text(now[0]), str(DONE_SECONDS), LABEL, DONE)
        answer = await _script(target, timeout, FLAGS + HEAD + script, *fixed, *more)
        if isinstance(answer, Failed):
            return f"the server refuses: {answer.message}"
        return _text(answer) if isinstance(answer, bytes) else "the server does not answer"


async def _script(target: RedisTarget, timeout: float, text: str, *arguments: str) -> Any:
    """The answer, Failed where the server refuses, None without one."""
    try:
        async with asyncio.timeout(timeout), connected(target, timeout) as connection:
            return await ask(connection, "EVAL", text, "0", *arguments)
    except FAILURES:
        return None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")[:256]


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
