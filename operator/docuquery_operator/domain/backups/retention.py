"""Which sets may be deleted. Pure. When in doubt, none.

A set is good when it is Complete and no check has failed since. Never deleted: the last good set, the last verified one of
the highest level, pinned ones and those in use by a restore, younger ones than minAge. Of the other good sets the policy
chooses; a set that is not good goes only when the policy would not choose it from all sets and a newer one is good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .layout import due_of
from .manifest import CatalogueEntry, Source, Verdict, VerifyLevel
from .report import Decision
from .request import KeepPolicy

SKEW = timedelta(minutes=5)
DELETIONS = 10
LEVELS = list(VerifyLevel)


@dataclass(frozen=True)
class Plan:
    """What retention has decided. refused: why nothing is deleted although sets could go; '' when it is not refused."""

    decisions: list[Decision]
    refused: str = ""

    @property
    def deletions(self) -> list[str]:
        """Sets to delete in this run, oldest first."""
        return [] if self.refused else [d.set_id for d in self.decisions if not d.keep][:DELETIONS]


def same_source(one: Source, other: Source) -> bool:
    """Whether a set belongs to this BackupJob. Its UID is not compared: after the loss of the cluster it is another."""
    return (one.namespace, one.stack, one.backup_job) == (other.namespace, other.stack, other.backup_job)


def standing(verdicts: Iterable[Verdict]) -> Verdict | None:
    """What holds of a set after all these checks: the newest of the deepest; a failure until a check as deep succeeds."""
    found: Verdict | None = None
    for verdict in sorted(verdicts, key=lambda v: v.at):
        if found is None or _outweighs(verdict, found):
            found = verdict
    return found


def _outweighs(newer: Verdict, before: Verdict) -> bool:
    if newer.verdict == "Failed" or before.verdict == "Unverifiable":
        return True
    deep_enough = LEVELS.index(newer.level) >= LEVELS.index(before.level)
    return newer.verdict == "Verified" and deep_enough


def is_good(entry: CatalogueEntry, verdict: Verdict | None) -> bool:
    """Complete, and not proved bad."""
    return entry.state == "Complete" and (verdict is None or verdict.verdict != "Failed")


def decide(
    entries: Sequence[CatalogueEntry],
    verdicts: Mapping[str, Verdict],
    policy: KeepPolicy,
    now: datetime,
    store_now: datetime | None,
) -> Plan:
    """A decision with its reason for each set, oldest first. verdicts: by set, see `standing`. store_now: by the store."""
    ordered = sorted(entries, key=lambda e: (e.set_id, e.finished_at))
    if not (policy.last or policy.daily or policy.weekly or policy.monthly):
        return Plan([_keep(e, "retention keeps everything") for e in ordered])
    reasons = _reasons(ordered, verdicts, policy, now)
    decisions = [
        Decision(set_id=e.set_id, keep=bool(reasons[e.set_id]), reason=reasons[e.set_id] or _why_not(e, verdicts))
        for e in ordered
    ]
    going = sum(not d.keep for d in decisions)
    return Plan(decisions, _refusal(ordered, verdicts, going, now, store_now) if going else "")


def _keep(entry: CatalogueEntry, reason: str) -> Decision:
    return Decision(set_id=entry.set_id, keep=True, reason=reason)


def _why_not(entry: CatalogueEntry, verdicts: Mapping[str, Verdict]) -> str:
    if is_good(entry, verdicts.get(entry.set_id)):
        return "no rule of retention keeps it"
    return "it is not good, and a newer set is"


def _refusal(
    entries: Sequence[CatalogueEntry],
    verdicts: Mapping[str, Verdict],
    going: int,
    now: datetime,
    store_now: datetime | None,
) -> str:
    if store_now is None:
        return "the store does not tell its time, so ages cannot be trusted; nothing is deleted"
    if abs(store_now - now) > SKEW:
        seconds = round((store_now - now).total_seconds())
        return f"the clock of the store differs by {seconds} s from that of the node; correct one; nothing is deleted"
    future = [e.set_id for e in entries if max(e.finished_at, e.started_at) > now + SKEW]
    if future:
        return f"{future[0]} is from the future by this clock; correct the clock; nothing is deleted"
    if not any(is_good(e, verdicts.get(e.set_id)) for e in entries):
        return "no set is good; nothing is deleted before a backup succeeds"
    if going * 2 > len(entries):
        return f"{going} of {len(entries)} sets would go, more than half; if that is meant, lower retention in steps"
    return ""


def _reasons(
    entries: Sequence[CatalogueEntry], verdicts: Mapping[str, Verdict], policy: KeepPolicy, now: datetime
) -> dict[str, str]:
    """By set, the first reason to keep it; '' for none."""
    good = [e for e in entries if is_good(e, verdicts.get(e.set_id))]
    chosen = _chosen(good, policy)
    among_all = _chosen(entries, policy)
    verified = _last_verified(good, verdicts)
    reasons: dict[str, str] = {}
    for entry in entries:
        key = entry.set_id
        found = _untouchable(entry, policy, now)
        if not found and good and entry is good[-1]:
            found = "the last good set"
        if not found and key in verified:
            found = f"the last set that was verified, {verified[key]}"
        if not found and entry in good:
            found = chosen.get(key, "")
        elif not found:
            newer = any(e.set_id > key for e in good)
            found = among_all.get(key, "") if newer else "it is not good, and no newer set is"
        reasons[key] = found
    return reasons


def _untouchable(entry: CatalogueEntry, policy: KeepPolicy, now: datetime) -> str:
    if {entry.set_id, entry.run} & set(policy.pinned):
        return "pinned, or in use by a restore"
    if now - max(entry.finished_at, entry.started_at) < timedelta(seconds=policy.min_age_seconds):
        return "younger than minAge"
    return ""


def _last_verified(good: Sequence[CatalogueEntry], verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """The newest set at each level that a check has passed: the deepest is what one restores, the newest what one has."""
    newest: dict[VerifyLevel, str] = {}
    for entry in good:
        verdict = verdicts.get(entry.set_id)
        if verdict is not None and verdict.verdict == "Verified":
            newest[verdict.level] = entry.set_id
    return {set_id: level.value for level, set_id in sorted(newest.items(), key=lambda pair: LEVELS.index(pair[0]))}


def _chosen(entries: Sequence[CatalogueEntry], policy: KeepPolicy) -> dict[str, str]:
    """The newest so many, and the newest of each of the last so many days, weeks and months that have any."""
    found: dict[str, str] = {}
    newest_first = list(reversed(entries))
    for number, entry in enumerate(newest_first[: policy.last], 1):
        found.setdefault(entry.set_id, f"keepLast: {number} of {policy.last}")
    zone = _zone(policy.time_zone)
    rules = (
        ("keepDaily", policy.daily, "%Y-%m-%d"),
        ("keepWeekly", policy.weekly, "%G-W%V"),
        ("keepMonthly", policy.monthly, "%Y-%m"),
    )
    for name, count, form in rules:
        periods: dict[str, str] = {}
        for entry in newest_first:
            periods.setdefault(f"{due_of(entry.set_id).astimezone(zone):{form}}", entry.set_id)
        for period in list(periods)[:count]:
            found.setdefault(periods[period], f"{name}: {period}")
    return found


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
