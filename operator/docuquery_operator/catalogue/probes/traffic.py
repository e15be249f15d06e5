"""apiTraffic: who asks, who is refused and how, from the access log of each of the api's pods."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from ...domain.traffic.figures import report
from ...domain.traffic.log_reader import LogReader
from ...domain.traffic.pod_log import PodLog, Stamped, window
from ...domain.traffic.rate_limits import internal
from ...domain.workloads.pods import PodFacts
from ...ports import ApiError
from .. import shared
from ..base import ProbeContext, Round
from .ratelimit import NOT_LOOKED, suspicious

# Of one pod in one round: some 80000 lines.
READ_LIMIT = 16 * 1024 * 1024
MAX_PODS = 20


class ApiTraffic:
    """Reads what is new since the last round, on each pod, and gives the figures of five minutes of all pods together."""

    name = "apiTraffic"
    doc = (
        "the access log of all pods over five minutes, in JSON or in the common and combined formats: `clients` (the "
        "busiest, with what was refused to them), users, paths and agents at the top, statuses and the shape of bursts; "
        "`topRefused` is the client that most refusals go to, `topRefusedOwnPercent` how much of its own requests that is, "
        "the same of the first five as `few…`; `retryPercent` of the refused came again within two seconds; `complete` when "
        "nothing was left out; only while requests are refused, nothing when a log cannot be read"
    )
    gives: tuple[str, ...] = (
        *("requests", "garbage", "statuses", "refusedPercent", "failedPercent", "clients", "clientCount", "countsExact"),
        *(
            "topUsers",
            "topPaths",
            "topAgents",
            "spanSeconds",
            "meanPerSecond",
            "peakPerSecond",
            "peakToMean",
            "burstSeconds",
        ),
        *(
            "refusedClients",
            "refusedOwnPercent",
            "topRefused",
            "topRefusedInternal",
            "topRefusedPercent",
            "topRefusedOwnPercent",
        ),
        *(
            "topRefusedRequests",
            "fewRefused",
            "fewRefusedPercent",
            "fewRefusedOwnPercent",
            "topRefusedPaths",
            "topRefusedAgents",
        ),
        *("retryPercent", "retryAgent", "retryAgentPercent", "retryClients", "retrySample", "complete"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; nothing while nothing is refused, and nothing when a pod's log cannot be read."""
        round_ = context.round
        if not await suspicious(context):
            round_.memory.pop(("traffic", context.name), None)
            return {"summary": NOT_LOOKED}
        pods = [p for p in await shared.pods(round_, context.component) if p.ready][:MAX_PODS]
        lock: asyncio.Lock = round_.memory.setdefault(("traffic lock", context.name), asyncio.Lock())
        async with lock:
            known: dict[str, PodLog] = round_.memory.setdefault(("traffic", context.name), {})
            for uid in known.keys() - {p.uid for p in pods}:
                del known[uid]
            try:
                await asyncio.gather(*(_read(round_, p, known.setdefault(p.uid, PodLog())) for p in pods))
            except (ApiError, TimeoutError) as problem:
                return {"summary": f"the log could not be read: {type(problem).__name__} {problem}"[:300]}
            if not pods or any(log.since is None and not log.buckets for log in known.values()):
                return {"summary": "the log is longer than can be read at once; trying a shorter time"}
            found = report(window(known.values()))
            complete = all(log.complete for log in known.values())
        if not found["requests"]:
            return {"summary": f"no requests in the log of {len(pods)} pods, {found['garbage']} lines of other kinds"}
        if "topRefused" in found:
            found["topRefusedInternal"] = internal(found["topRefused"])
        return {**found, "complete": complete, "summary": _summary(found)}


async def _read(round_: Round, pod: PodFacts, log: PodLog) -> None:
    """Carry one pod's figures on. What was read in vain is read again."""
    start = log.start(round_.now)
    reader, stamped, taken = LogReader(), Stamped(log.had), 0
    stream = round_.ports.cluster.log_stream(round_.namespace, pod.name, pod.container, start, READ_LIMIT)
    async with asyncio.timeout(round_.timeout), aclosing(stream):
        async for piece in stream:
            taken += len(piece)
            reader.feed(stamped.take(piece))
    log.add(round_.now, start, stamped, reader, cut=taken >= READ_LIMIT)


def _summary(found: dict[str, Any]) -> str:
    text = f"{found['requests']} requests in {found.get('spanSeconds', 0)} s, {found['refusedPercent']:g} % refused"
    if "topRefused" in found:
        text += (
            f"; {found['refusedClients']} clients are refused, most {found['topRefused'][:64]}: "
            f"{found['topRefusedPercent']:g} % of all refusals, {found['topRefusedOwnPercent']:g} % of its own requests"
        )
    if found.get("retryPercent"):
        text += f"; {found['retryPercent']:g} % of the refused come again at once"
    return text
