"""Floods against the api of the running stack; nobody applies an incident. Clients are told apart by the header of a trusted proxy."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.e2e.checks import Deploy
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import kubectl, wait_for
from tests.harness.stackns import StackNamespace, condition, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
WATCHED = stackns.DETECTION | {"openIncidents": True}
VERIFY = stackns.VERIFY | {"within": "150s"}
TYPE = "RateLimitSpike"
NAME = "docuquery-rate-limit-spike-1"
ABUSER = "203.0.113.77"
HONEST = tuple(f"198.51.100.{n}" for n in range(1, 7))
BLOCK_SECONDS = 150


class Clients:
    """Requests of several addresses, each at a pace of its own, and the answers by address."""

    def __init__(self, ns: StackNamespace) -> None:
        self.url = f"http://{ns.api.read('services', 'api')['spec']['clusterIP']}:8000/info"
        self.answers: dict[str, Counter[int]] = {}
        self.stopped: set[str] = set()

    def ask(self, address: str) -> int:
        """One request."""
        request = urllib.request.Request(self.url, headers={"X-Forwarded-For": address, "User-Agent": "e2e"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as refusal:
            with refusal:
                status = refusal.code
        except OSError:
            status = 0
        self.answers.setdefault(address, Counter())[status] += 1
        return status

    @contextmanager
    def busy(self, pace: dict[str, float]) -> Iterator[None]:
        """So many requests a second of each, until the end."""
        threads = [threading.Thread(target=self._keep, args=(a, 1 / p), daemon=True) for a, p in pace.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped |= set(pace)
            for thread in threads:
                thread.join(15)

    def _keep(self, address: str, pause: float) -> None:
        while address not in self.stopped:
            began = time.monotonic()
            self.ask(address)
            time.sleep(max(0.0, pause - (time.monotonic() - began)))


def test_one_abuser(stack: Deploy) -> None:
    """One client ignores the limit: it alone is kept out, the others are served, and it is let in again by itself."""
    ns = stack(detection=WATCHED)
    allow_blocking(ns)
    before = ns.api.read("deployments", "api")["metadata"]["generation"]
    clients = Clients(ns)
    fault = Fault(ns, "api: one abusive client", TYPE)
    with clients.busy({ABUSER: 25.0} | dict.fromkeys(HONEST, 0.8)):
        fault.opened(90)
        wait_for("a block", lambda: blocks(ns), 60)
        assert [b["addresses"] for b in blocks(ns)] == [[ABUSER]]
        wait_for("403 for the abuser", lambda: clients.ask(ABUSER) == 403, 10)
        # Paces differ, so whoever was refused before the block shows as well.
        status = ns.wait_resolved(NAME, 240)
    assert condition(status, "Resolved")["reason"] == "Healed", stackns.brief(status)
    assert (status["cause"]["name"], steps(status)) == ("OneAbuser", [("blockClients", "Healed")])
    fault.ended()
    for address in HONEST:
        assert set(clients.answers[address]) == {200}, (address, clients.answers[address])
    assert clients.answers[ABUSER][403] > 0
    assert ns.api.read("deployments", "api")["metadata"]["generation"] == before, "something else was done as well"
    wait_for("the end of the block", lambda: clients.ask(ABUSER) == 200, BLOCK_SECONDS + 60)
    wait_for("an empty record", lambda: not blocks(ns), 40)
    events = {e["reason"] for e in json.loads(kubectl("-n", ns.name, "get", "events.events.k8s.io", "-o", "json"))["items"]}
    assert "BlockEnded" in events


def test_organic_growth(stack: Deploy) -> None:
    """Three times the usual traffic, of many clients each above the limit: nobody is blocked, the limit is raised for a time."""
    ns = stack()
    limited(ns, requests=10, window=10)
    usual = {f"198.51.100.{n}": 0.6 for n in range(10)}
    more = {f"198.51.100.{n}": 1.6 for n in range(100, 120)}
    ns.api.patch("stacks", "docuquery", {"spec": {"detection": WATCHED}})
    clients = Clients(ns)
    with clients.busy(usual):
        time.sleep(100)
        assert ns.api.list("incidents") == []
        fault = Fault(ns, "api: organic growth", TYPE)
        with clients.busy(more):
            fault.opened(120)
            status = ns.wait_resolved(NAME, 170)
            answers = {address: clients.ask(address) for address in more}
    assert condition(status, "Resolved")["reason"] == "Healed", stackns.brief(status)
    assert status["cause"]["name"] == "OrganicGrowth", stackns.brief(status)
    assert ("setTemporaryLimits", "Healed") in steps(status)
    assert set(answers.values()) == {200}, answers
    assert blocks(ns) == []
    limit = limit_of(ns)
    assert 10 < limit <= 40
    assert str(limit) in json.dumps(ns.api.read("deployments", "api")["metadata"]["annotations"]), "no record to return by"
    fault.ended()


def limited(ns: StackNamespace, requests: int, window: int) -> None:
    """A limit that is soon reached, and a runbook with times that suit a test; returns when the api has it."""
    # Installed anew: a change of what runs would be somebody else's rollout, and the likely cause of all that follows.
    found = ns.api.read("deployments", "api")
    for variable in found["spec"]["template"]["spec"]["containers"][0]["env"]:
        wanted = {"RATE_LIMIT_REQUESTS": requests, "RATE_LIMIT_WINDOW": window}.get(variable["name"])
        variable.update({} if wanted is None else {"value": str(wanted)})
    del found["status"]
    found["metadata"] = {"name": "api", "labels": found["metadata"].get("labels") or {}}
    kubectl("-n", ns.name, "delete", "deployment", "api", "--cascade=foreground", "--timeout=60s")
    kubectl("-n", ns.name, "create", "-f", "-", text=yaml.safe_dump(found))
    kubectl("-n", ns.name, "rollout", "status", "deployment/api", "--timeout=120s")
    runbook = stackns.runbook(stackns.VERIFY | {"within": "40s"}, "rate-limit-spike")
    kubectl("-n", ns.name, "apply", "-f", "-", text=yaml.safe_dump(runbook))


def limit_of(ns: StackNamespace) -> int:
    """The one in force, by the workload."""
    env = ns.api.read("deployments", "api")["spec"]["template"]["spec"]["containers"][0]["env"]
    return int(next(e["value"] for e in env if e["name"] == "RATE_LIMIT_REQUESTS"))


def blocks(ns: StackNamespace) -> list[dict[str, Any]]:
    """Who is kept out by the Stack's own word."""
    found: list[dict[str, Any]] = (ns.api.read("stacks", "docuquery").get("status") or {}).get("blocks") or []
    return found


def allow_blocking(ns: StackNamespace) -> None:
    """The Stack says how, and a test does not wait for an hour."""
    spec = {"spec": {"components": {"api": {"blocking": {"enforcer": "ApiDenySet"}}}}}
    kubectl("-n", ns.name, "patch", "stack", "docuquery", "--type=merge", "-p", json.dumps(spec))
    runbook = stackns.runbook(VERIFY, "rate-limit-spike")
    for cause in runbook["spec"]["causes"]:
        for step in cause.get("remediate", []):
            if step["action"] == "blockClients":
                step.setdefault("parameters", {})["blockFor"] = f"{BLOCK_SECONDS}s"
    kubectl("-n", ns.name, "apply", "-f", "-", text=yaml.safe_dump(runbook))
