"""What the Jobs of heavy tasks are asked, in the simulated world, and why there is none where there can be none."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import MaintenanceWindow, Task, TaskType
from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.tasks import TASKS
from docuquery_operator.catalogue.tasks.base import Heavy, TaskContext
from docuquery_operator.controllers.task_targets import TaskTargets
from docuquery_operator.ports import BACKUP_JOB, DEPLOYMENT, STACK, STATEFUL_SET
from tests.fakes.rig import NAMESPACE, Rig


async def order_of(rig: Rig, type_: TaskType, window: dict[str, Any] | None = None, **parameters: Any) -> Any:
    """What the shipped kind asks its Job in the simulated world, or why it cannot be done."""
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    name = f"{type_.value[0].lower()}{type_.value[1:]}"
    task = Task.model_validate({"type": type_.value, name: parameters})
    spec = {"stackRef": {"name": "docuquery"}, "schedule": {"cron": "0 3 * * *"}, "duration": "1h", **(window or {})}
    w = MaintenanceWindow.model_validate({"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": spec})
    now = rig.clock.now()
    kind = TASKS[type_]
    assert isinstance(kind, Heavy)
    targets = TaskTargets(rig.life.ports, stack, "t-1")
    return await kind.order(
        TaskContext(rig.life.ports, stack, w, task, "t-1", now, 900.0, lambda: rig.life.prober.health(stack), targets)
    )


async def test_the_database_is_maintained_with_the_component_s_role_or_the_task_s_own() -> None:
    rig = Rig()
    wanted = await order_of(rig, TaskType.VACUUM_DATABASE, parallel=2, reindex=["public.a"])
    assert wanted.secrets == {"postgres": "postgres-operator"}
    asked = wanted.request
    assert (asked.databases, asked.vacuum, asked.analyze, asked.parallel) == (["docuquery_ai"], True, True, 2)
    assert (asked.reindex, asked.lock_timeout_seconds, asked.budget_seconds) == (["public.a"], 5.0, 900.0)
    assert "hunter2" not in asked.model_dump_json()
    missing = await order_of(rig, TaskType.ANALYZE_TABLES, credentials={"secretName": "postgres-maintenance"})
    assert missing.state == "Failed"
    assert "Secret 'postgres-maintenance' is missing" in missing.summary
    rig.edit_stack(lambda s: s["spec"]["components"].pop("postgres"))
    assert (await order_of(rig, TaskType.ANALYZE_TABLES)).state == "Skipped"


async def test_of_two_databases_the_window_names_one() -> None:
    rig = Rig()

    def twice(stack: Any) -> None:
        components = stack["spec"]["components"]
        components["second"] = {**components["postgres"], "database": "other"}

    rig.edit_stack(twice)
    unclear = await order_of(rig, TaskType.ANALYZE_TABLES)
    assert "several PostgreSQL components (postgres, second)" in unclear.summary
    named = await order_of(rig, TaskType.ANALYZE_TABLES, {"components": ["second"]})
    assert (named.request.databases, named.request.vacuum) == (["other"], False)


def logging(user: int | None = 10001, volume: str = "logs", **claim: Any) -> Any:
    """A change of a workload whose container keeps logs on a volume."""

    def change(obj: Any) -> None:
        pod = obj["spec"]["template"]["spec"]
        pod["containers"][0]["volumeMounts"] = [{"name": volume, "mountPath": "/var/log", "subPath": "app"}]
        pod["volumes"] = [{"name": volume, **claim}]
        pod["securityContext"] = {"fsGroup": 20002, **({"runAsUser": user} if user is not None else {})}

    return change


async def test_logs_are_rotated_beside_their_writers_as_their_user() -> None:
    rig = Rig()
    rig.server.edit(DEPLOYMENT, NAMESPACE, "api", logging(persistentVolumeClaim={"claimName": "api-logs"}))
    wanted = await order_of(rig, TaskType.ROTATE_LOGS, path="/var/log/api", pattern="*.log", keep=3, maxSize="1Gi")
    assert wanted.request.folders == ["/logs/0/app/api"]
    assert (wanted.request.keep, wanted.request.max_bytes, wanted.secrets) == (3, 1 << 30, {})
    job = wanted.patch({"spec": {"template": {"spec": {"volumes": [], "securityContext": {"runAsUser": 65532, "fsGroup": 65532,
                        "runAsNonRoot": True}, "containers": [{"volumeMounts": []}]}}}})  # fmt: skip
    pod = job["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "logs-0", "persistentVolumeClaim": {"claimName": "api-logs"}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "logs-0", "mountPath": "/logs/0"}]
    assert pod["securityContext"] == {"runAsUser": 10001, "runAsGroup": 20002, "fsGroup": 20002, "runAsNonRoot": True}
    near = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert near["labelSelector"]["matchLabels"] == {"app.kubernetes.io/name": "api"}


def backup_job(rig: Rig, stack: str = "docuquery", **destination: Any) -> None:
    spec = {"stackRef": {"name": stack}, "include": {"qdrant": {}}, "destination": destination,
            "encryption": {"recipients": ["age1" + "q" * 58]}, "mover": {"serviceAccountName": "logs"}}  # fmt: skip
    rig.server.put(BACKUP_JOB, {"metadata": {"name": "nightly", "namespace": NAMESPACE}, "spec": spec})


async def test_archives_of_logs_go_to_the_store_of_a_backup_job() -> None:
    rig = Rig()
    rig.server.edit(DEPLOYMENT, NAMESPACE, "api", logging(persistentVolumeClaim={"claimName": "api-logs"}))
    backup_job(rig, s3={"bucket": "backups", "prefix": "p", "secretRef": {"secretName": "s3"}})
    wanted = await order_of(rig, TaskType.ROTATE_LOGS, path="/var/log/api", keep=0, archive={"backupJob": "nightly"})
    asked = wanted.request.store
    assert (asked.destination.s3.bucket, asked.stack, asked.folders) == ("backups", "docuquery", ["api/api-logs/app=2Fapi"])
    assert (asked.recipients, wanted.secrets, wanted.service_account) == (["age1" + "q" * 58], {"store": "s3"}, "logs")
    template = {"volumes": [{"name": "secret-0", "secret": {"secretName": "s3", "defaultMode": 0o440}}],
                "securityContext": {"fsGroup": 65532}, "containers": [{"volumeMounts": []}]}  # fmt: skip
    for group, mode in ((20002, 0o440), (None, 0o444)):
        rig.server.edit(DEPLOYMENT, NAMESPACE, "api", logging(persistentVolumeClaim={"claimName": "api-logs"}))

        def grouped(workload: Any, group: int | None = group) -> None:
            workload["spec"]["template"]["spec"]["securityContext"]["fsGroup"] = group

        rig.server.edit(DEPLOYMENT, NAMESPACE, "api", grouped)
        made = await order_of(rig, TaskType.ROTATE_LOGS, path="/var/log/api", archive={"backupJob": "nightly"})
        pod = made.patch({"spec": {"template": {"spec": template}}})["spec"]["template"]["spec"]
        # Who writes the logs reads the Secret too: it has no other user in that pod.
        assert (pod["volumes"][0]["secret"]["defaultMode"], pod["securityContext"].get("fsGroup")) == (mode, group)


@pytest.mark.parametrize(
    ("stack", "destination", "words"),
    [
        ("docuquery", None, "BackupJob nightly does not exist"),
        ("other", {"s3": {"bucket": "backups"}}, "is of Stack other, not of docuquery"),
        ("docuquery", {"volume": {"claimName": "c"}}, "log archives go to a bucket"),
        ("docuquery", {}, "cannot be read"),
    ],
)
async def test_without_a_store_for_them_no_log_is_touched(stack: str, destination: Any, words: str) -> None:
    rig = Rig()
    rig.server.edit(DEPLOYMENT, NAMESPACE, "api", logging(persistentVolumeClaim={"claimName": "api-logs"}))
    if destination is not None:
        backup_job(rig, stack, **destination)
        if not destination:
            rig.server.edit(BACKUP_JOB, NAMESPACE, "nightly", lambda o: o["spec"].pop("destination"))
    found = await order_of(rig, TaskType.ROTATE_LOGS, path="/var/log/api", archive={"backupJob": "nightly"})
    assert (found.state, words in found.summary) == ("Failed", True), found


async def test_each_pod_of_a_stateful_set_has_its_own_volume() -> None:
    rig = Rig(replicas=2)
    rig.server.edit(STATEFUL_SET, NAMESPACE, "postgres", logging())
    rig.server.edit(
        STATEFUL_SET, NAMESPACE, "postgres",
        lambda o: o["spec"].update(volumeClaimTemplates=[{"metadata": {"name": "logs"}}]),
    )  # fmt: skip
    wanted = await order_of(rig, TaskType.ROTATE_LOGS, path="/var/log")
    assert wanted.request.folders == ["/logs/0/app", "/logs/1/app"]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (logging(emptyDir={}), "/var/log", "not on a PersistentVolumeClaim"),
        (logging(0, persistentVolumeClaim={"claimName": "c"}), "/var/log", "run as root"),
        (logging(None, persistentVolumeClaim={"claimName": "c"}), "/var/log", "do not say as whom"),
        (logging(persistentVolumeClaim={"claimName": "c"}), "/var/lib", "no container has a volume at /var/lib"),
        (logging(persistentVolumeClaim={"claimName": "c"}), "/var/log/../lib", "no container has a volume"),
    ],
)
async def test_where_no_log_can_be_rotated_it_is_said_why(change: Any, path: str, words: str) -> None:
    rig = Rig()
    rig.server.edit(DEPLOYMENT, NAMESPACE, "api", change)
    found = await order_of(rig, TaskType.ROTATE_LOGS, path=path, component="api")
    assert (found.state, words in found.summary) == ("Failed", True), found.summary
