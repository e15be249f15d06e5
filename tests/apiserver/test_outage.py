"""The API server is away or refuses for longer than kopf's own patience: nothing is lost, nobody is a zombie afterwards.

As the kubelet would, the test starts an operator again that has ended: one that cannot renew its Lease must end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.apiserver import ApiServer
from tests.harness.cluster import Access
from tests.harness.operator import HostOperator, settings
from tests.harness.proxy import FaultProxy, Outage

pytestmark = pytest.mark.timeout(300)
API = "/apis/ops.docuquery.ai/v1alpha1"
# kopf's own list of back-offs ends after 54 s, and its watch with it.
LASTS = 65.0
# Generous on a busy machine; a zombie would never look again.
HANDLED_WITHIN = 30.0
OUTAGES = {
    "all-503": Outage(503),
    "all-silent": Outage(0),
    "kinds-403": Outage(403, only=API),
    "kinds-500": Outage(500, only=API),
}


@dataclass
class Subject:
    """One operator behind a proxy of its own, in a namespace of its own."""

    name: str
    server: ApiServer
    proxy: FaultProxy
    operator: HostOperator

    def open(self, incident: str) -> None:
        """Open an incident, past the proxy."""
        spec = {"stackRef": {"name": "none"}, "type": "DatabaseConnectionFailure"}
        body = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Incident", "metadata": {"name": incident}, "spec": spec}
        code, answer = self.server.request("POST", f"{API}/namespaces/{self.name}/incidents", body)
        assert code == 201, answer

    def answered(self, incident: str) -> bool:
        """The operator has looked at it and says what is missing."""
        _, found = self.server.request("GET", f"{API}/namespaces/{self.name}/incidents/{incident}")
        conditions: list[Any] = (found.get("status") or {}).get("conditions") or []
        return any(c["type"] == "NeedsHuman" and c["reason"] == "StackNotFound" for c in conditions)

    def revive(self) -> None:
        """As the kubelet does."""
        if not self.operator.alive():
            self.operator.start()


@contextmanager
def subject(name: str, server: ApiServer, folder: Path) -> Iterator[Subject]:
    """It serves, and has proved it."""
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    proxy = FaultProxy(Access(server.url, server.tls()), lambda: 0, server.token)
    proxy.start()
    config = proxy.kubeconfig(folder / f"{name}.kubeconfig")
    operator = HostOperator(settings(config, name, name), folder / f"{name}.log")
    made = Subject(name, server, proxy, operator)
    try:
        operator.start()
        made.open("before")
        _until(lambda: made.answered("before"), 60, operator)
        yield made
    finally:
        operator.kill()
        proxy.stop()


def test_it_is_back_at_work_after_an_outage_and_has_missed_nothing(server: ApiServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        subjects = [stack.enter_context(subject(name, server, tmp_path)) for name in OUTAGES]
        for one in subjects:
            one.proxy.sicken(OUTAGES[one.name])
            one.proxy.requests = 0
            one.open("meanwhile")
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            for one in subjects:
                one.revive()
            time.sleep(0.2)
        asked = {one.name: one.proxy.requests / LASTS for one in subjects}
        assert not [one.name for one in subjects if one.answered("meanwhile")], "the outage was none"
        for one in subjects:
            one.proxy.sicken(None)
            one.open("afterwards")
        began = time.monotonic()
        took: dict[str, float] = {}
        while len(took) < len(subjects) and time.monotonic() - began < HANDLED_WITHIN:
            for one in subjects:
                one.revive()
                if one.name not in took and one.answered("meanwhile") and one.answered("afterwards"):
                    took[one.name] = round(time.monotonic() - began, 1)
            time.sleep(0.1)
        starts = {one.name: one.operator.starts for one in subjects}
        print(f"handled again after {took} s, starts {starts}, requests a second meanwhile {asked}")
        assert set(took) == set(OUTAGES), {one.name: one.operator.tail(5) for one in subjects if one.name not in took}
        assert max(asked.values()) <= 10, "a sick API server is not given more work"
        assert {name: n for name, n in starts.items() if name.startswith("kinds")} == {"kinds-403": 1, "kinds-500": 1}
        assert max(starts.values()) <= 3, "an operator that ends again and again"


def _until(done: Any, seconds: float, operator: HostOperator) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert operator.alive(), operator.tail()
        assert time.monotonic() < deadline, operator.tail()
        time.sleep(0.1)
