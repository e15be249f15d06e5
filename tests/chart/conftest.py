"""One bare API server for the tests that need a real one; each installs what it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.apiserver import ApiServer, start_apiserver


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """etcd and kube-apiserver without our CRDs."""
    with start_apiserver() as running:
        yield running
