"""One real API server with the CRDs for all tests of this folder, and one namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from docuquery_operator.api.common import API_VERSION
from docuquery_operator.api.crd import KINDS
from tests.harness.apiserver import ApiServer, install_crds, start_apiserver

PLURALS = {model.meta_of_kind.kind: model.meta_of_kind.plural for model in KINDS}
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/apiserver/" in item.path.as_posix():
            item.add_marker(pytest.mark.apiserver)


@dataclass(frozen=True)
class Place:
    """A namespace and the requests that tests make in it."""

    server: ApiServer
    namespace: str

    def path(self, kind: str, name: str = "") -> str:
        """Where objects of a kind are."""
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{PLURALS[kind]}"
        return f"{path}/{name}" if name else path

    def create(self, body: Any, options: str = "") -> tuple[int, Any]:
        """Create with strict validation."""
        return self.server.request("POST", f"{self.path(body['kind'])}?fieldValidation=Strict{options}", body)

    def replace(self, body: Any, options: str = "") -> tuple[int, Any]:
        """Replace with strict validation."""
        path = self.path(body["kind"], body["metadata"]["name"])
        return self.server.request("PUT", f"{path}?fieldValidation=Strict{options}", body)

    def get(self, kind: str, name: str) -> Any:
        """The object as it is stored."""
        code, body = self.server.request("GET", self.path(kind, name))
        assert code == 200, body
        return body


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """etcd and kube-apiserver with all CRDs."""
    with start_apiserver() as running:
        install_crds(running)
        yield running


@pytest.fixture
def place(server: ApiServer) -> Place:
    """A namespace of this test's own."""
    name = f"test-{next(_numbers)}"
    code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert code == 201, answer
    return Place(server, name)
