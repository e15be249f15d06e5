"""The operator dies at every write of a healing, once before and once after it: the end must always be the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness import cluster
from tests.harness.operator import COMMAND
from tests.harness.proxy import written
from tests.harness.release import IMAGES
from tests.kill import campaign
from tests.kill.run import Worker

FIGURES = cluster.CHECKOUT / "build" / "kill.json"
NAIVE = Path(__file__).with_name("naive.py")
WORKERS = 3
DONE: dict[str, campaign.Campaign] = {}

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", autouse=True)
def local_cluster() -> None:
    """A cluster with the images and the CRDs of this checkout."""
    cluster.ensure_up(IMAGES[1:])
    cluster.install_crds()


def opened(name: str, folder: Path, *command: str) -> Worker:
    """A worker that is ready."""
    worker = Worker(name, folder, command or COMMAND)
    worker.open()
    return worker


def test_naive_restarter_is_caught(tmp_path: Path) -> None:
    """If this harness finds nothing wrong with it, the harness is broken."""
    command = (sys.executable, str(NAIVE))
    found = campaign.run(lambda i: opened(f"kill-naive-{i}", tmp_path, *command, f"kill-naive-{i}"), 2)
    DONE["naive"] = found
    print(f"naive restarter: {found.summary()}")
    campaign.write(DONE, FIGURES)
    assert found.reference.restarts_ordered == 1
    assert [o for o in found.outcomes if o.end.restarts_ordered > 1], "no second restart was noticed"


def test_every_kill_point_ends_the_same(tmp_path: Path) -> None:
    found = campaign.run(lambda i: opened(f"kill-{i}", tmp_path), WORKERS)
    DONE["operator"] = found
    print(found.summary())
    campaign.write(DONE, FIGURES)
    check_reference(found)
    assert not found.different, "\n".join([found.summary(), *campaign.differences(found)])
    assert not found.missed, f"no run came to {[str(p) for p in found.missed]}"
    assert max(o.end.restarts_ordered for o in found.outcomes) == 1
    assert max(o.end.new_pods for o in found.outcomes) == 1
    # A run that did not come to its point is one without a kill.
    assert all(o.starts == o.reached for o in found.outcomes), "it was not started again exactly once for each kill"


def check_reference(found: campaign.Campaign) -> None:
    """The runs without a kill healed, each with one restart, and left everything that a person needs."""
    end = found.reference
    assert {o.end for o in found.references} == {end}, [o.end for o in found.references]
    assert (end.phase, end.resolved, end.cause) == ("Resolved", "Healed", "ProcessDown")
    assert end.steps == (("restartWorkload", "Healed"),)
    assert (end.restarts_ordered, end.new_pods, end.ledger) == (1, 1, ("Healed",))
    assert (end.same_attempt_everywhere, end.report, end.evidence, end.healthy) == (True, True, 1, True)
    must = {
        "PATCH incidents/killed/status #1",
        "POST leases #1",
        "POST configmaps #1",
        "PATCH statefulsets/postgres #1",
        "POST pods/postgres-0/eviction #1",
        "PATCH leases/docuquery-target-docuquery-postgres #1",
    }
    assert must <= set(found.writes), f"the writes that matter were not all killed at: {found.writes}"


@pytest.mark.parametrize(
    ("method", "path", "body", "counts"),
    [
        ("GET", "/api/v1/namespaces/a/pods", b"", ""),
        ("PATCH", "/apis/apps/v1/namespaces/a/statefulsets/postgres", b"{}", "PATCH statefulsets/postgres"),
        ("POST", "/api/v1/namespaces/a/pods/postgres-0/eviction", b"{}", "POST pods/postgres-0/eviction"),
        ("POST", "/api/v1/namespaces/a/pods/postgres-0/eviction", b'{"dryRun": ["All"]}', ""),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", b"{}", ""),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/a/leases/docuquery-operator", b"{}", ""),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/a/leases", b'{"name": "docuquery-operator"}', ""),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/a/leases", b'{"name": "docuquery-target-x"}', "POST leases"),
    ],
)
def test_what_counts_as_a_write(method: str, path: str, body: bytes, counts: str) -> None:
    assert written(method, path, body) == counts
