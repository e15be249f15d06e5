"""Builds everything by hand, top to bottom; the only place that knows every class."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence

# Before all that is sorted: the memory that its import leaves free serves what comes after it, 4 MiB for good.
from .adapters.redis import RedisPy

# isort: split
from .adapters.access import find_access
from .adapters.alertmanager import AlertmanagerRest
from .adapters.celery import RedisCelery
from .adapters.channels import SystemChannels
from .adapters.clock import SystemClock
from .adapters.database_review import PsycopgReviewer
from .adapters.events import EventRecorder
from .adapters.kubernetes import KubernetesCluster
from .adapters.links import HeldLinks
from .adapters.network import SystemNetwork
from .adapters.postgres import PsycopgDatabase
from .adapters.qdrant import QdrantRest
from .adapters.quarantine import RedisQuarantine
from .adapters.redis_aside import SwappedDatabases
from .adapters.redis_keys import ScannedKeys
from .adapters.registry import OciRegistry
from .adapters.tls_memory import spare_buffers
from .catalogue import runbooks
from .cli import catalogue, crds, lint
from .controllers.backup_job import BackupJobController
from .controllers.courier import Courier
from .controllers.incident import IncidentController
from .controllers.maintenance_window import MaintenanceWindowController
from .controllers.prober import StackProber
from .controllers.restore_job import RestoreJobController
from .controllers.runbook import RunbookController
from .controllers.stack import StackController
from .controllers.task_runner import TaskRunner
from .ports import BACKUP_JOB, INCIDENT, MAINTENANCE_WINDOW, RESTORE_JOB, RUNBOOK, STACK, Key, Kind, Ports, Self
from .runtime.health import Health
from .runtime.lease import LeaderLease
from .runtime.metrics import OperatorMetrics
from .runtime.process import Process, Reconcile
from .runtime.resync import Resync
from .runtime.workqueue import WorkQueue
from .settings import Settings
from .starting import start

NAME = "docuquery-operator"
COUNT_AFTER = 2.0


async def run(settings: Settings) -> int:
    """The operator itself."""
    access = find_access(settings.kubeconfig)
    spare_buffers()
    clock = SystemClock()
    metrics = OperatorMetrics(clock)
    queue = WorkQueue(metrics.reconciled)
    async with (
        KubernetesCluster(access, NAME) as cluster,
        KubernetesCluster(access, f"{NAME}-lease", timeout=3.0) as lease_cluster,
        SystemNetwork() as network,
        HeldLinks() as links,
    ):
        lease = LeaderLease(
            lease_cluster,
            settings.namespace,
            settings.lease_name,
            settings.instance,
            settings.lease_seconds,
            settings.renew_seconds,
            settings.retry_seconds,
        )
        ports = Ports(
            cluster=cluster,
            clock=clock,
            database=PsycopgDatabase(),
            redis=RedisPy(),
            redis_keys=ScannedKeys(),
            aside=SwappedDatabases(),
            celery=RedisCelery(),
            quarantine=RedisQuarantine(),
            qdrant=QdrantRest(),
            network=network,
            events=EventRecorder(cluster, clock, NAME, settings.instance),
            leader=lease,
            metrics=metrics,
            links=links,
            alertmanager=AlertmanagerRest(),
            channels=SystemChannels(clock, settings.notify_allow, access.addresses()),
            reviewer=PsycopgReviewer(),
            registry=OciRegistry(settings.plain_registries),
            self=Self(settings.namespace, settings.instance, settings.address),
        )
        controllers = controllers_of(ports, queue, settings.image)
        resync = Resync(cluster, queue, metrics, list(controllers))
        # What is loaded by now stays for ever; the collector need not walk it again.
        gc.collect()
        gc.freeze()
        process = Process(settings, cluster, lease, Health(metrics), metrics, queue, resync, controllers)
        return await process.run()


def controllers_of(ports: Ports, queue: WorkQueue, image: str) -> dict[Kind, Reconcile]:
    """What reconciles each kind. image: of the Jobs of backups."""
    prober = StackProber(ports, queue.aside)
    stacks = StackController(ports, prober, queue.add)

    def recount(key: Key) -> None:
        stacks.recount(key)
        queue.add(key)

    def counted_soon(stack: Key) -> None:
        # In a storm each new incident asks for it, and each count reads all of them.
        stacks.recount(stack)
        queue.add(stack, after=COUNT_AFTER)

    def not_sent(key: Key) -> None:
        # The next try comes later than this; by then other news of the incident may have come, for the same write.
        queue.add(key, after=2.0)

    def sent_together(key: Key) -> None:
        # Receipts of other channels may be written with it.
        queue.add(key, after=0.5)

    courier = Courier(ports, queue.first, failed=not_sent, joined=sent_together)
    return {
        INCIDENT: IncidentController(ports, prober, counted_soon, courier, queue.decided).reconcile,
        STACK: stacks.reconcile,
        RUNBOOK: RunbookController(ports).reconcile,
        BACKUP_JOB: BackupJobController(ports, image, recount).reconcile,
        RESTORE_JOB: RestoreJobController(ports, image).reconcile,
        MAINTENANCE_WINDOW: MaintenanceWindowController(
            ports, TaskRunner(ports, prober, image, queue.add), recount, courier
        ).reconcile,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: run (default), catalogue, crds, lint, runbook."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["crds"]:
        return crds.main(arguments[1:])
    if arguments[:1] == ["lint"]:
        return lint.main(arguments[1:])
    if arguments[:1] in (["page"], ["mirror"]):
        from . import status_page

        return status_page.main(arguments)
    if arguments[:1] == ["receiver"]:
        # In a process that has loaded nothing of the operator.
        os.execv(sys.executable, [sys.executable, "-m", "docuquery_operator.receiver"])  # noqa: S606
    parser = argparse.ArgumentParser(prog="python -m docuquery_operator", description="The DocuQuery operator.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="run the operator (the default); settings are DOCUQUERY_* variables")
    commands.add_parser("receiver", help="take alerts of Alertmanager, and answers from Slack and PagerDuty")
    commands.add_parser("catalogue", help="print the probes and actions that a runbook can name")
    commands.add_parser("crds", help="print, write or check the CRDs")
    commands.add_parser("lint", help="say what is wrong with runbooks in files, without a cluster")
    commands.add_parser("page", help="serve the status page; settings are DOCUQUERY_PAGE_* variables")
    commands.add_parser("mirror", help="copy the status page to an object store or to Statuspage.io; settings likewise")
    show = commands.add_parser("runbook", help="print a shipped runbook, to read, copy and override")
    show.add_argument("incident_type", choices=sorted(runbooks.shipped()))
    options = parser.parse_args(arguments)
    if options.command == "catalogue":
        sys.stdout.write(catalogue.tables())
        return 0
    if options.command == "runbook":
        sys.stdout.write(runbooks.text_of(options.incident_type))
        return 0
    return start(Settings, run)


if __name__ == "__main__":
    sys.exit(main())
