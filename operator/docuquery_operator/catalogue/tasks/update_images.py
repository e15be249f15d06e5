"""UpdateImages: what a tag means now, one workload at a time, watched until it is well, put back where it is not.

What is about to be done stands on the workload itself, in one write with the change: a process that dies at any moment is
followed by one that reads there how far it came. A digest that was put back is not tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...api.common import HealMode, format_time
from ...api.maintenance_window import TaskType, UpdateImagesTask
from ...api.stack import Component, ComponentType
from ...domain.maintenance.task_outcome import Finding, Rank, Table, TaskOutcome
from ...domain.rails.target import FOREIGN_ROLLOUT
from ...domain.remedies.ownership import owner_of
from ...domain.workloads.images import (
    DONE,
    ROLLING,
    UNDOING,
    UNDONE,
    Record,
    images_of,
    parsed,
    record_of,
    running_digests,
    short,
)
from ...domain.workloads.pods import foreign_rollout
from ...ports import JSON, WORKLOADS
from .. import shared
from ..actions.restart_workload import RestartWorkload
from ..base import Round
from .base import Light, TaskContext, parameters
from .image_rollout import CHANGED, Roller
from .targets import given_back, taken

REGISTRY_SECONDS = 15.0
# Below this there is no time to watch a workload and to put it back.
LEAST_SECONDS = 90.0
# To healing it is what it does: a restart, with the cooldown of one.
ACTION = RestartWorkload.name
VERDICTS = {DONE: "Healed", UNDONE: "Regressed", UNDOING: "NotHealed"}
STATELESS = (ComponentType.API, ComponentType.CELERY_WORKER)


@dataclass
class _Seen:
    """What became of each component, in order. words: '' while nothing was decided."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    findings: list[tuple[Rank, str]] = field(default_factory=list)
    updated: int = 0
    undone: int = 0
    unsettled: int = 0
    reported: int = 0

    def row(self, component: str, image: str, before: str, after: str, words: str) -> None:
        self.rows.append((component, image, short(before), short(after), words))


async def run(context: TaskContext) -> TaskOutcome:
    """One component after the other, those that hold data last."""
    wanted: UpdateImagesTask = parameters(context, "update_images", UpdateImagesTask)
    components = context.stack.spec.components
    names = wanted.components or context.window.spec.components or list(components)
    order = sorted((n for n in names if n in components), key=lambda n: (components[n].type not in STATELESS, n))
    seen, stopped = _Seen(), ""
    for name in (n for n in names if n not in components):
        seen.findings.append(("Warning", f"the Stack has no component {name}"))
    for number, name in enumerate(order):
        stopped = context.stopping()
        if stopped:
            break
        context.say(f"{name} ({number + 1} of {len(order)})")
        await _component(context, wanted, name, components[name], seen)
    return _outcome(seen, stopped)


async def _component(context: TaskContext, wanted: UpdateImagesTask, name: str, component: Component, seen: _Seen) -> None:
    ref, ports = component.workload, context.ports
    workload = await ports.cluster.get(WORKLOADS[ref.kind], context.namespace, ref.name)
    if workload is None:
        seen.findings.append(("Warning", f"{name}: {ref.kind} {ref.name} does not exist"))
        return
    record = record_of(workload)
    if record is not None and record.attempt == context.attempt_id:
        await _carried_on(context, name, component, record, seen)
        return
    fresh = await _fresh(context, name, component, workload, seen)
    if not fresh:
        return
    why = await _held(context, wanted, name, component, workload, fresh, record)
    if not why:
        why = await taken(context, name, ACTION, RestartWorkload.cooldown, LEAST_SECONDS)
        if not why:
            workload, why = await _again(context, wanted, name, component, workload, fresh)
    if why:
        seen.reported += 1
        for container, image in fresh.items():
            seen.row(name, container, images_of(workload)[container], image, f"not updated: {why}")
        seen.findings.append(("Warning", f"{name}: a new version of its image is there, not updated: {why}"[:512]))
        return
    roller = Roller(context, name, component)
    ended = await roller.roll(workload, await _pinned(context, component, workload, fresh), fresh)
    await given_back(context, name, "Skipped" if ended.why == CHANGED else VERDICTS[ended.state])
    _settled(name, ended, seen)


async def _carried_on(context: TaskContext, name: str, component: Component, record: Record, seen: _Seen) -> None:
    """What a process that died has begun: its target is its own still, unless somebody else has taken it meanwhile."""
    if record.state in (ROLLING, UNDOING):
        why = await taken(context, name, ACTION, RestartWorkload.cooldown, 0.0)
        if why:
            _settled(name, replace(record, state=UNDOING, why=f"its update was begun and not ended: {why}"), seen)
            return
    ended = await Roller(context, name, component).carried_on(record)
    await given_back(context, name, VERDICTS[ended.state])
    _settled(name, ended, seen)


async def _again(
    context: TaskContext,
    wanted: UpdateImagesTask,
    name: str,
    component: Component,
    workload: JSON,
    fresh: Mapping[str, str],
) -> tuple[JSON, str]:
    """Looked at once more now that it is held: while it was waited for, somebody has acted on it."""
    ref = component.workload
    now = await context.ports.cluster.get(WORKLOADS[ref.kind], context.namespace, ref.name)
    if now is None or images_of(now) != images_of(workload):
        why = "its images were changed meanwhile; it is looked at again next time"
    else:
        why = await _held(context, wanted, name, component, now, fresh, record_of(now))
    if why:
        await given_back(context, name, "Skipped")
    return now or workload, why


async def _pinned(context: TaskContext, component: Component, workload: JSON, fresh: Mapping[str, str]) -> dict[str, str]:
    """What runs now, bound to its digest: by then the tag means the new one."""
    pods = await _pods(context, component)
    before = {}
    for container in fresh:
        image = images_of(workload)[container]
        named, digests = parsed(image), running_digests(pods, container)
        before[container] = named.pinned(min(digests)) if named and len(digests) == 1 else image
    return before


async def _pods(context: TaskContext, component: Component) -> list[JSON]:
    round_ = Round(context.stack, context.ports, 3.0, context.ports.clock.now())
    return list(await shared.pod_objects(round_, component))


async def _fresh(context: TaskContext, name: str, component: Component, workload: JSON, seen: _Seen) -> dict[str, str]:
    """Containers whose tag means something else than what runs, with the image to run."""
    pods, found = await _pods(context, component), dict[str, str]()
    for container, text in images_of(workload).items():
        image = parsed(text)
        if image is None or not image.tag:
            seen.row(name, container, text, text, "bound to a digest without a tag, so nothing newer can be known")
            continue
        answer = await context.ports.registry.tag(image, REGISTRY_SECONDS)
        if answer.problem:
            more = "; use imagePullSecrets by hand, the operator reads none" if answer.credentials else ""
            seen.row(name, container, text, text, f"not known: {answer.problem}{more}")
            seen.findings.append(("Warning", f"{name}: {answer.problem}{more}"))
            continue
        running = running_digests(pods, container) or ({image.digest} if image.digest else set())
        if not running:
            seen.row(name, container, text, text, "not known: no pod says what it runs")
        elif running <= {answer.digest, *answer.platforms}:
            seen.row(name, container, min(running), answer.digest, "up to date")
        else:
            found[container] = image.pinned(answer.digest)
    return found


async def _held(
    context: TaskContext,
    wanted: UpdateImagesTask,
    name: str,
    component: Component,
    workload: JSON,
    fresh: Mapping[str, str],
    record: Record | None,
) -> str:
    """Why the new version is only reported, '' when it may be rolled out."""
    ref, mode = component.workload, context.stack.spec.healing.mode
    if wanted.report_only:
        return "reportOnly is set"
    if mode in (HealMode.OBSERVE, HealMode.OFF):
        return f"the Stack's healing.mode is {mode.value}"
    if context.ports.self.is_of(context.namespace, ref.name):
        return "it is the operator itself"
    owner = next((o for c in fresh if (o := owner_of(workload, f"image/{c}"))), "")
    if owner:
        return f"{owner} owns the image and would put it back; change it there"
    if record is not None and record.state in (UNDOING, UNDONE) and dict(record.after) == dict(fresh):
        return f"it was tried and put back: {record.why}"
    round_ = Round(context.stack, context.ports, 3.0, context.ports.clock.now())
    rollout = foreign_rollout(await shared.revisions(round_, component))
    if rollout is not None and context.ports.clock.now() - rollout[0] < FOREIGN_ROLLOUT:
        return f"somebody else has rolled it out at {format_time(rollout[0])}; it is looked at again next time"
    health = (await context.health()).get(name)
    if health is None or health.healthy is not True:
        return f"it is not healthy as it is: {health.summary if health else 'unknown'}"
    left = context.timeout - (context.ports.clock.now() - context.since).total_seconds()
    return "" if left > LEAST_SECONDS else "too little time is left to watch it"


def _settled(name: str, record: Record, seen: _Seen) -> None:
    for container, image in record.after.items():
        seen.row(name, container, record.before.get(container, ""), image, record.why)
    if record.state == DONE:
        seen.updated += 1
        return
    if record.state == UNDONE:
        seen.undone += 1
        seen.findings.append(("Warning", f"{name}: {record.why}"))
    else:
        seen.unsettled += 1
        seen.findings.append(("Critical", f"{name}: {record.why}"))


def _outcome(seen: _Seen, stopped: str) -> TaskOutcome:
    columns = ("component", "container", "before", "after", "what")
    parts = [f"{seen.updated} updated", f"{seen.undone} put back", f"{seen.unsettled} not ended well"]
    parts.append(f"{seen.reported} only reported")
    said = ", ".join(part for part in parts if not part.startswith("0 ")) or "everything is up to date or not known"
    lines = [f"{r[0]}/{r[1]}: {r[2]} → {r[3]}: {r[4]}" for r in seen.rows if r[4] != "up to date"]
    order = {"Critical": 0, "Warning": 1, "Info": 2}
    return TaskOutcome(
        state="Aborted" if stopped else "Failed" if seen.undone or seen.unsettled else "Succeeded",
        summary=f"{stopped}; {said}" if stopped else said,
        evidence=tuple(line[:512] for line in lines[:12]),
        figures={"updated": seen.updated, "put back": seen.undone, "only reported": seen.reported}
        | ({"not ended well": seen.unsettled} if seen.unsettled else {}),
        tables=(Table(title="Images", columns=columns, rows=tuple(seen.rows)),),
        findings=tuple(
            Finding(rank=rank, text=text[:512]) for rank, text in sorted(seen.findings, key=lambda f: order[f[0]])
        ),
    )


KIND = Light(TaskType.UPDATE_IMAGES, "new digests of the same tags, one workload at a time", run, changes=True)
