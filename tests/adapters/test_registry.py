"""The registry's client against a server that speaks the OCI distribution API as the real ones do."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.adapters.registry import OciRegistry
from docuquery_operator.domain.workloads.images import Image, parsed

pytestmark = pytest.mark.timeout(20)
OLD, PLATFORM = (f"sha256:{c * 64}" for c in "ad")
INDEX = json.dumps({"schemaVersion": 2, "manifests": [{"digest": PLATFORM}, {"digest": "junk"}]}).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"


class Double:
    """What it answers can be changed; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.challenge, self.realm, self.login, self.named, self.slow = "", "", False, True, 0.0
        self.host = ""

    async def manifest(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        self.asked.append((request.path, authorization, request.headers.get("Accept", "")))
        await asyncio.sleep(self.slow)
        if self.challenge and (authorization != "Bearer anonymous" or self.login):
            return web.Response(status=401, headers={"WWW-Authenticate": self.challenge})
        if request.match_info["tag"] != "1":
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        headers = {"Docker-Content-Digest": DIGEST} if self.named else {}
        return web.Response(body=INDEX, content_type="application/vnd.oci.image.index.v1+json", headers=headers)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """In two pieces, as what is as long as a real one may come."""
        self.asked.append((request.path_qs, "", ""))
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        await answer.write(b'{"token": ')
        await asyncio.sleep(0.05)
        await answer.write(b'"anonymous"}')
        return answer


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    made, app = Double(), web.Application()
    app.router.add_get("/v2/{name:.+}/manifests/{tag}", made.manifest)
    app.router.add_get("/token", made.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def answer(double: Double, tag: str = "1", timeout: float = 5.0) -> Any:
    image = parsed(f"{double.host}/shop/api:{tag}")
    assert image is not None
    return await OciRegistry([double.host]).tag(image, timeout)


async def test_what_a_tag_means_with_all_its_platforms(double: Double) -> None:
    found = await answer(double)
    assert (found.digest, found.platforms, found.problem) == (DIGEST, (PLATFORM,), "")
    path, _, accept = double.asked[0]
    assert path == "/v2/shop/api/manifests/1"
    assert {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.v2+json"} <= set(
        accept.split(", ")
    )


async def test_a_registry_that_names_no_digest_is_hashed(double: Double) -> None:
    double.named = False
    assert (await answer(double)).digest == DIGEST


async def test_an_anonymous_token_is_fetched_where_one_is_asked_for(double: Double) -> None:
    double.challenge = f'Bearer realm="http://{double.host}/token",service="r",scope="repository:shop/api:pull"'
    assert (await answer(double)).digest == DIGEST
    assert double.asked[1][0] == "/token?service=r&scope=repository:shop/api:pull"


@pytest.mark.parametrize(
    "challenge",
    ['Basic realm="r"', 'Bearer realm="http://169.254.169.254/token"', 'Bearer realm="file:///etc/passwd"', "Bearer"],
)
async def test_what_only_a_login_opens_is_said_and_no_other_place_is_asked(double: Double, challenge: str) -> None:
    double.challenge = challenge
    found = await answer(double)
    assert (found.digest, found.credentials, len(double.asked)) == ("", True, 1)
    assert "only to those who log in" in found.problem


async def test_a_token_that_opens_nothing_is_a_login_too(double: Double) -> None:
    double.challenge, double.login = f'Bearer realm="http://{double.host}/token"', True
    assert (await answer(double)).credentials


async def test_a_sick_registry_is_an_answer_in_words(double: Double) -> None:
    assert "answers 404 for shop/api:2" in (await answer(double, "2")).problem
    double.slow = 3.0
    assert "no answer in time" in (await answer(double, timeout=0.3)).problem
    gone = parsed("127.0.0.1:1/shop/api:1")
    assert gone is not None
    assert "cannot be asked" in (await OciRegistry(["127.0.0.1:1"]).tag(gone, 2)).problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis", ("docker.io", "library/redis", "latest", "")),
        ("shop/api:1.2", ("docker.io", "shop/api", "1.2", "")),
        ("r.example:5000/a/b:c", ("r.example:5000", "a/b", "c", "")),
        ("localhost/a", ("localhost", "a", "latest", "")),
        (f"ghcr.io/a/b@{OLD}", ("ghcr.io", "a/b", "", OLD)),
        (f"ghcr.io/a/b:1@{OLD}", ("ghcr.io", "a/b", "1", OLD)),
    ],
)
def test_names_of_images(text: str, expected: tuple[str, ...]) -> None:
    found = parsed(text)
    assert found is not None
    assert (found.registry, found.repository, found.tag, found.digest) == expected
    assert parsed(found.pinned(PLATFORM)) == Image(expected[0], expected[1], expected[2], PLATFORM, found.name)


@pytest.mark.parametrize("text", ["", "a b", "A/B", "a@sha256:12", "a:", "a/../b", f"a@{OLD}x"])
def test_what_is_no_name(text: str) -> None:
    assert parsed(text) is None
