"""Selectors overlap in real namespaces: what belongs to another workload is neither counted nor touched."""

from __future__ import annotations

import pytest

from docuquery_operator.ports import CONTROLLER_REVISION, POD, STATEFUL_SET
from tests.fakes.rig import NAMESPACE, Rig, steps

pytestmark = pytest.mark.timeout(240)
OWNER = {"controller": True, "kind": "StatefulSet", "name": "exporter", "uid": "u-exporter"}


async def test_a_sick_pod_of_another_workload_is_never_evicted() -> None:
    rig = Rig()
    labels = {"app.kubernetes.io/name": "postgres", "controller-revision-hash": "exporter-1"}
    meta = {"name": "exporter-0", "namespace": NAMESPACE, "labels": labels, "ownerReferences": [OWNER]}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    rig.simulator.strangers.add("exporter-0")
    rig.server.put(POD, {"metadata": meta, "spec": {}, "status": status})
    rig.freeze()
    found = await rig.run(rig.incident())
    assert (found["phase"], steps(found)) == ("Resolved", [("restartWorkload", "Healed")])
    assert rig.server.find(POD, NAMESPACE, "exporter-0") is not None


async def test_a_rollout_of_another_workload_is_not_taken_for_one_of_the_target() -> None:
    rig = Rig()
    for number in (7, 8):
        meta = {
            "name": f"exporter-{number}",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "postgres"},
            "ownerReferences": [OWNER],
        }
        rig.server.put(CONTROLLER_REVISION, {"metadata": meta, "revision": number, "data": {}})
    assert rig.server.find(STATEFUL_SET, NAMESPACE, "postgres") is not None
    rig.freeze()
    found = await rig.run(rig.incident())
    assert (found["phase"], found.get("decisions", [])) == ("Resolved", [])
