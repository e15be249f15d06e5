"""Target ledgers in the API: one Lease a component, which says who works on it and what was tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from ..domain.backups.figures import PART_OF
from ..domain.ledger import LEASE_FOR, TASK_HOLDER, Attempt, Ledger, decode, encode, parse_time, words_of
from ..domain.names import label_of
from ..domain.rails.candidate import AUTOMATIC_PHASE
from ..ports import JSON, LEASE, Cluster, Conflict, Transient

ANNOTATION = "ops.docuquery.ai/attempts"
STACK_LABEL = "ops.docuquery.ai/stack"
COMPONENT_LABEL = "ops.docuquery.ai/component"
TRIES = 5


class LedgerStore:
    """Reads and changes the ledgers of a Stack. A spoilt ledger is an error: nothing is done on guesses."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def read(self, namespace: str, stack: str) -> Mapping[str, Ledger]:
        """All ledgers of the Stack by component; ValueError when one is spoilt."""
        leases = await self._cluster.list(LEASE, namespace, f"{STACK_LABEL}={label_of(stack)}")
        return {lease["metadata"]["labels"].get(COMPONENT_LABEL, ""): ledger_of(lease) for lease in leases}

    async def healed(self, stack: JSON, stores: Collection[str], now: datetime) -> str:
        """Which of a Stack's stores a healing works on just now, in words; '' for none, or where a ledger is spoilt."""
        meta, components = stack["metadata"], (stack.get("spec") or {}).get("components") or {}
        types = {str(type_) for type_, part in PART_OF.items() if part in stores}
        try:
            ledgers = await self.read(meta["namespace"], meta["name"])
        except ValueError:
            return ""
        for name, ledger in sorted(ledgers.items()):
            if ledger.heals(now, AUTOMATIC_PHASE) and (components.get(name) or {}).get("type") in types:
                return f"{name} is being healed"
        return ""

    async def keep(self, namespace: str, stack: str, component: str, attempt: Attempt, now: datetime) -> None:
        """Take or keep the target and enter the attempt in one write; Transient while somebody else holds it."""

        def change(ledger: Ledger) -> Ledger:
            if ledger.held_by_other(attempt.incident, now):
                raise Transient(f"{words_of(ledger.holder)} works on {component}", 5.0)
            return ledger.keep(attempt, now)

        await self._change(namespace, stack, component, change)

    async def finish(self, namespace: str, stack: str, component: str, attempt_id: str, outcome: str, now: datetime) -> None:
        """Write the verdict and give the target back."""
        await self._change(namespace, stack, component, lambda ledger: ledger.finish(attempt_id, outcome, now))

    async def _change(self, namespace: str, stack: str, component: str, change: Callable[[Ledger], Ledger]) -> None:
        for _ in range(TRIES):
            name = lease_name(stack, component)
            lease = await self._cluster.get(LEASE, namespace, name)
            before = ledger_of(lease) if lease else Ledger()
            after = change(before)
            if after == before:
                return
            try:
                await self._write(namespace, stack, component, lease, after)
                return
            except Conflict:
                continue
        raise Transient(f"the ledger of {component} changes too often", 2.0)

    async def _write(self, namespace: str, stack: str, component: str, lease: JSON | None, ledger: Ledger) -> None:
        spec: JSON = {
            "holderIdentity": ledger.holder or None,
            "leaseDurationSeconds": int(LEASE_FOR.total_seconds()),
            "renewTime": ledger.renewed.isoformat(timespec="microseconds").replace("+00:00", "Z")
            if ledger.renewed
            else None,
        }
        name = lease_name(stack, component)
        meta: JSON = {"annotations": {ANNOTATION: encode(ledger)}}
        if lease is None:
            meta |= {"name": name, "labels": {STACK_LABEL: label_of(stack), COMPONENT_LABEL: component}}
            await self._cluster.create(LEASE, namespace, {"metadata": meta, "spec": spec})
            return
        meta["resourceVersion"] = lease["metadata"]["resourceVersion"]
        if await self._cluster.patch(LEASE, namespace, name, {"metadata": meta, "spec": spec}) is None:
            raise Conflict("the ledger was deleted")


def lease_name(stack: str, component: str) -> str:
    """Name of the target's Lease."""
    return f"docuquery-target-{label_of(stack)}-{component}"


def held_by_task(lease: JSON, now: datetime) -> bool:
    """Whether a maintenance task acts on the target; a spoilt ledger says nothing of it."""
    try:
        ledger = ledger_of(lease)
    except ValueError:
        return False
    return ledger.holder.startswith(TASK_HOLDER) and ledger.held_by_other("", now)


def ledger_of(lease: JSON) -> Ledger:
    """From the Lease; ValueError when spoilt."""
    spec = lease.get("spec") or {}
    text = (lease["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    renewed = parse_time(spec["renewTime"]) if spec.get("renewTime") else None
    return decode(text, spec.get("holderIdentity") or "", renewed)
