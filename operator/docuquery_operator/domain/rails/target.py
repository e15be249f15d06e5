"""Checks of the target: whose it is, who changes it, what touching it would cost (rules 3, 11, 12, 19, 24 and 26)."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.common import Severity, format_time
from ...api.stack import PartBackup
from ..backups.figures import PART_OF
from ..world import Refusal, Risk, World
from .candidate import Candidate

FOREIGN_ROLLOUT = timedelta(minutes=10)
BACKUP_AGE = timedelta(hours=24)
BACKUP_AGE_P0 = timedelta(hours=6)


def foreign_change(c: Candidate) -> Refusal | None:
    """Rule 24."""
    return foreign(c.world, c.planned.component, c.now)


def foreign(world: World, component: str, now: datetime) -> Refusal | None:
    """Rule 24, also for a step whose intent is written."""
    target = world.targets.get(component)
    if target is None or target.foreign_rollout_at is None:
        return None
    until = target.foreign_rollout_at + FOREIGN_ROLLOUT
    if now >= until:
        return None
    return Refusal(
        "24-foreign-rollout",
        "RolloutBySomebodyElse",
        f"{target.foreign_rollout} was rolled out at {format_time(target.foreign_rollout_at)} by somebody else; "
        "undoing that rollout is the likely fix",
        until,
    )


def own_target(c: Candidate) -> Refusal | None:
    """Rule 3, the operator's part."""
    return own(c.world, c.planned.component)


def own(world: World, component: str) -> Refusal | None:
    """Rule 3, also for a step whose intent is written."""
    target = world.targets.get(component)
    if target is None or not target.own:
        return None
    return Refusal("3-own-targets", "OwnWorkload", f"{component} is the operator itself; take it out of the Stack")


def last_replica(c: Candidate) -> Refusal | None:
    """Rule 11: a component that is well is not left without a pod for the sake of another one."""
    name, target = c.planned.component, c.world.targets.get(c.planned.component)
    seen = c.world.neighbours.get(name)
    if not c.planned.restarts or name == c.world.component or target is None or not target.gap:
        return None
    if seen is None or seen.healthy is False:
        return None
    return Refusal(
        "11-last-replica", "LastHealthyReplica", f"{name} is not known to be broken and would serve nobody: {target.gap}"
    )


def share(c: Candidate) -> Refusal | None:
    """Rule 12: a restart by the workload's own rolling update must not take most of what still serves at once."""
    seen = c.world.targets.get(c.planned.component)
    if not c.planned.restarts or seen is None or not seen.share:
        return None
    text = f"{c.planned.component} still serves in part, and {seen.share}; set maxUnavailable to 1 or at most 25%"
    return Refusal("12-share", "TooManyAtOnce", text)


def backup_gate(c: Candidate) -> Refusal | None:
    """Rule 19: nothing risks data that no proven copy could bring back."""
    if c.planned.risk is not Risk.DATA or not c.planned.backup:
        return None
    name, last = c.planned.component, _backup_of(c)
    limit = BACKUP_AGE_P0 if c.status.severity is Severity.P0 else BACKUP_AGE
    proved = last.proved_time if last else None
    if proved is not None and c.now - proved <= limit:
        return None
    hours = int(limit.total_seconds() // 3600)
    wanted = f"{c.planned.action} needs one that a restore has proved, at most {hours}h old"
    if last is None:
        return Refusal("19-backup", "NoBackup", f"there is no backup of {name}; {wanted}")
    state = f"the newest that is proved of {format_time(proved)}" if proved else "none is proved by a restore"
    text = f"the newest backup of {name} is of {format_time(last.time)}, {state}; {wanted}"
    return Refusal("19-backup", "BackupNotFit", text)


def _backup_of(c: Candidate) -> PartBackup | None:
    """The backup of what the step would put at risk; none of what backups do not hold, such as Redis."""
    component = c.stack.spec.components.get(c.planned.component)
    part = PART_OF.get(component.type) if component else None
    last = c.stack.status.last_backup if c.stack.status else None
    return next((p for p in last.parts if p.part == part), None) if last else None


def git(c: Candidate) -> Refusal | None:
    """Rule 26."""
    if not c.planned.git:
        return None
    text = f"{c.planned.git} owns what {c.planned.action} would change and would put it back; make the change in Git: "
    return Refusal("26-git", "GitOwnsField", text + c.planned.summary)
