"""The enforcers and the Stack's record on a real API server: what it takes, defaults and keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.adapters.access import Access
from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.adapters.kubernetes import KubernetesCluster
from docuquery_operator.api.blocking import Block
from docuquery_operator.api.common import API_VERSION
from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.actions.block_clients import keep_blocks
from docuquery_operator.catalogue.base import Round
from docuquery_operator.catalogue.enforcers import ENFORCERS
from docuquery_operator.controllers.blocks import BlockKeeper
from docuquery_operator.domain.remedies.blocklists import DENY_LIST, HELD, UNTIL
from docuquery_operator.ports import DEPLOYMENT, INGRESS, NETWORK_POLICY, STACK, Ports
from tests.apiserver.conftest import Place
from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults
from tests.fakes.ports import FakeEvents, FakeLeader, FakeMetrics

pytestmark = pytest.mark.timeout(240)
ABUSERS = ["203.0.113.7", "2001:db8::7"]
JSON = dict[str, Any]


@dataclass
class Ground:
    """A Stack whose api may have its clients blocked, and the ports on the real server."""

    place: Place
    ports: Ports
    blocking: JSON

    async def round(self) -> Round:
        obj = await self.ports.cluster.get(STACK, self.place.namespace, "docuquery")
        return Round(Stack.model_validate(obj), self.ports, 5.0, self.ports.clock.now())

    async def begin(self) -> None:
        ns = self.place.namespace
        template = {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": "a"}]}}
        spec: JSON = {"replicas": 1, "selector": {"matchLabels": {"app": "api"}}, "template": template}
        await self.ports.cluster.create(DEPLOYMENT, ns, {"metadata": {"name": "api"}, "spec": spec})
        backend = {"service": {"name": "api", "port": {"number": 8000}}}
        front: JSON = {"metadata": {"name": "front", "annotations": {"a": "b"}}, "spec": {"defaultBackend": backend}}
        await self.ports.cluster.create(INGRESS, ns, front)
        api = {
            "type": "Api",
            "workload": {"kind": "Deployment", "name": "api"},
            "endpoint": {"service": "api", "port": 8000},
        }
        components = {"api": {**api, "blocking": self.blocking}}
        body = {
            "apiVersion": API_VERSION,
            "kind": "Stack",
            "metadata": {"name": "docuquery"},
            "spec": {"components": components},
        }
        assert self.place.create(body)[0] == 201

    async def block(self) -> Block:
        round_ = await self.round()
        component = round_.stack.spec.components["api"]
        assert component.blocking
        enforcer = ENFORCERS[component.blocking.enforcer]
        assert await enforcer.obstacle(round_, "api", component) is None
        block = Block(
            attempt_id="attempt", component="api", enforcer=component.blocking.enforcer, addresses=ABUSERS,
            object=enforcer.object_name(round_, "api", component), since=round_.now, until=round_.now + timedelta(hours=1),
        )  # fmt: skip
        await keep_blocks(round_, [block])
        for _ in range(2):
            round_ = await self.round()
            await enforcer.block(round_, component, block)
        assert await enforcer.listed(round_, block) == ABUSERS
        return block

    async def ended(self) -> None:
        """An hour later, a new process."""
        clock = ManualClock()
        clock.advance((SystemClock().now() - clock.now()).total_seconds() + 3700)
        ports = replace(self.ports, clock=clock)
        obj = await ports.cluster.get(STACK, self.place.namespace, "docuquery")
        assert obj
        assert obj["status"]["blocks"][0]["addresses"] == ABUSERS
        await BlockKeeper(ports).look(Stack.model_validate(obj), obj)
        assert not ((await self.ports.cluster.get(STACK, self.place.namespace, "docuquery")) or {})["status"].get("blocks")


def ports(cluster: KubernetesCluster) -> Ports:
    none: Any = None
    given: JSON = {"database": none, "redis": none, "network": none, "events": FakeEvents(Faults())}
    fields = Ports.__dataclass_fields__
    given |= {name: none for name in fields if name not in given and name not in ("self", "cluster", "clock")}
    return Ports(**given | {"cluster": cluster, "clock": SystemClock(), "leader": FakeLeader(), "metrics": FakeMetrics()})


def cluster(place: Place) -> KubernetesCluster:
    return KubernetesCluster(Access(place.server.url, ca_data=place.server.ca.read_text(), token=place.server.token), "test")


async def test_the_policy_begins_ends_and_begins_again(place: Place) -> None:
    async with cluster(place) as api:
        ground = Ground(place, ports(api), {"enforcer": "NetworkPolicy"})
        await ground.begin()
        for _ in range(2):
            block = await ground.block()
            policy = await api.get(NETWORK_POLICY, place.namespace, block.object) or {}
            peers = policy["spec"]["ingress"][0]["from"]
            assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "api"}}
            assert [p["ipBlock"]["except"] for p in peers if "ipBlock" in p] == [["203.0.113.7/32"], ["2001:db8::7/128"]]
            assert policy["metadata"]["ownerReferences"][0]["kind"] == "Stack"
            assert UNTIL in policy["metadata"]["annotations"]
            await ground.ended()
            policy = await api.get(NETWORK_POLICY, place.namespace, block.object) or {}
            assert policy["spec"]["podSelector"] == {"matchLabels": {"ops.docuquery.ai/selects": "nothing"}}
            assert not policy["spec"].get("ingress")
            assert HELD not in (policy["metadata"].get("annotations") or {})


async def test_the_deny_list_begins_and_ends(place: Place) -> None:
    async with cluster(place) as api:
        ground = Ground(place, ports(api), {"enforcer": "IngressNginx", "ingress": "front"})
        await ground.begin()
        await ground.block()
        front = await api.get(INGRESS, place.namespace, "front") or {}
        assert front["metadata"]["annotations"][DENY_LIST] == "203.0.113.7/32,2001:db8::7/128"
        await ground.ended()
        front = await api.get(INGRESS, place.namespace, "front") or {}
        assert front["metadata"]["annotations"] == {"a": "b"}
