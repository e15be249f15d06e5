"""One restore a Stack: a Lease whose holder is a RestoreJob that is at work, however long that takes."""

from __future__ import annotations

from ..domain.backups.restores import ACTIVE
from ..domain.names import label_of
from ..ports import LEASE, RESTORE_JOB, Cluster, Conflict, Transient

DURATION_SECONDS = 3600


class RestoreLease:
    """Taken before a Job that may touch live data is made, and given back at the end of the restore."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def holder(self, namespace: str, stack: str, own: str) -> str:
        """Name of another RestoreJob that holds it and is still at work, '' for nobody."""
        lease = await self._cluster.get(LEASE, namespace, lease_name(stack))
        held = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
        name, _, uid = held.rpartition("/")
        if not held or held == own:
            return ""
        other = await self._cluster.get(RESTORE_JOB, namespace, name)
        if other is None or other["metadata"]["uid"] != uid:
            return ""
        status = other.get("status") or {}
        return name if status.get("phase") in ACTIVE or status.get("work") else ""

    async def take(self, namespace: str, stack: str, own: str) -> None:
        """Hold it; Transient while another RestoreJob does, Conflict when two come at once."""
        name = lease_name(stack)
        lease = await self._cluster.get(LEASE, namespace, name)
        if ((lease or {}).get("spec") or {}).get("holderIdentity") == own:
            return
        busy = await self.holder(namespace, stack, own)
        if busy:
            raise Transient(f"RestoreJob {busy} replaces data of the same Stack", 10.0)
        spec = {"holderIdentity": own, "leaseDurationSeconds": DURATION_SECONDS}
        if lease is None:
            await self._cluster.create(LEASE, namespace, {"metadata": {"name": name}, "spec": spec})
            return
        body = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        if await self._cluster.patch(LEASE, namespace, name, body) is None:
            raise Conflict("the Lease was deleted")

    async def free(self, namespace: str, stack: str, own: str) -> None:
        """Give it back, if it is ours."""
        name = lease_name(stack)
        lease = await self._cluster.get(LEASE, namespace, name)
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != own:
            return
        body = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": None}}
        await self._cluster.patch(LEASE, namespace, name, body)


def lease_name(stack: str) -> str:
    """Name of the Lease."""
    return f"docuquery-restore-{label_of(stack)}"
