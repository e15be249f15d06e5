"""kopf as it is set up: it only watches, never gives up, writes nothing, and says nothing but keys."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import kopf
import pytest

from docuquery_operator.ports import INCIDENT, LEASE, STACK, Key
from docuquery_operator.runtime.kopf_app import PREFIX, EndlessBackoff, registry, settings

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: abc}}]
"""


def test_the_back_off_of_the_watch_never_ends_and_stays_short() -> None:
    """kopf's own list ends after 54 seconds, and the watch with it."""
    found = list(islice(iter(EndlessBackoff()), 5000))
    assert len(found) == 5000
    for value, middle in zip(found, [1, 2, 4, 8, *[10] * 4996], strict=True):
        assert 0.8 * middle <= value <= 1.2 * middle
    assert len(set(found)) > 4000


def test_each_outage_starts_with_short_waits_again() -> None:
    backoff = EndlessBackoff()
    assert all(next(iter(backoff)) <= 1.2 for _ in range(50))


def test_the_settings_are_those_of_the_design() -> None:
    s = settings("docuquery-operator", 25.0)
    assert s.scanning.disabled
    assert s.peering.standalone
    assert not s.posting.enabled
    assert s.execution.max_workers == 4
    assert (s.watching.server_timeout, s.watching.client_timeout, s.watching.connect_timeout) == (300, 310, 10)
    assert s.networking.request_timeout == 30
    assert isinstance(s.networking.error_backoffs, EndlessBackoff)
    assert s.queueing.exit_timeout == 25.0
    assert s.process.ultimate_exiting_timeout == 30.0
    # Belts for a watch that goes silent behind a load balancer.
    assert s.watching.inactivity_timeout == 70
    assert s.queueing.worker_limit is None


def test_only_our_own_lease_is_watched() -> None:
    selectors = settings("my-lease", 25.0).watching.field_selectors
    assert selectors[LEASE.group, LEASE.version, LEASE.plural] == "metadata.name=my-lease"


def test_no_handler_could_write_a_key_that_is_not_ours() -> None:
    s = settings("x", 1.0)
    assert s.persistence.finalizer.startswith(PREFIX)
    progress, diffbase = s.persistence.progress_storage, s.persistence.diffbase_storage
    assert isinstance(progress, kopf.AnnotationsProgressStorage)
    assert isinstance(diffbase, kopf.AnnotationsDiffBaseStorage)
    assert progress.prefix == diffbase.prefix == PREFIX


class Seen:
    """What the handlers hand over."""

    def __init__(self, kubeconfig: str | None = None) -> None:
        self.keys: list[tuple[Key, str | None, str]] = []
        self.canaries = 0
        self.registry = registry([INCIDENT, STACK], self._key, self._canary, kubeconfig)

    def _key(self, key: Key, type_: str | None, version: str) -> None:
        self.keys.append((key, type_, version))

    def _canary(self) -> None:
        self.canaries += 1

    def call(self, id_: str, **kwargs: Any) -> Any:
        handlers = {str(h.id): h for h in self.registry._watching.get_all_handlers()}
        return asyncio.run(handlers[id_].fn(**kwargs))


def test_nothing_is_registered_but_events() -> None:
    """Any other kind of handler would write annotations or finalizers on users' objects."""
    r = Seen().registry
    assert sorted(str(h.id) for h in r._watching.get_all_handlers()) == [
        "canary", "watch-incidents", "watch-jobs", "watch-stacks",
    ]  # fmt: skip
    for other in (r._changing, r._spawning, r._indexing, r._webhooks):
        assert list(other.get_all_handlers()) == []


@pytest.mark.parametrize("type_", [None, "ADDED", "MODIFIED", "DELETED"])
def test_an_event_becomes_a_key_of_its_own_kind(type_: str | None) -> None:
    seen, meta = Seen(), {"resourceVersion": "7"}
    for plural in ("incidents", "stacks"):
        answer = seen.call(
            f"watch-{plural}", namespace="docuquery", name="db", type=type_, meta=meta, body={"spec": {}}, logger=None
        )
        assert answer is None
    assert seen.keys == [(Key(plural, "docuquery", "db"), type_, "7") for plural in ("incidents", "stacks")]


def test_an_event_without_names_does_not_fail() -> None:
    seen = Seen()
    seen.call("watch-incidents", namespace=None, name=None, type=None, meta={})
    assert seen.keys == [(Key("incidents", "", ""), None, "")]


def test_the_lease_is_the_canary() -> None:
    seen = Seen()
    assert seen.call("canary", namespace="x", name="y", type="MODIFIED", body={}) is None
    assert (seen.canaries, seen.keys) == (1, [])


def test_a_given_kubeconfig_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    login = next(iter(Seen(str(path)).registry._activities.get_all_handlers()))
    connection: Any = login.fn(settings=settings("x", 1.0), logger=None)
    assert (connection.server, connection.token) == ("https://127.0.0.1:6443", "abc")
