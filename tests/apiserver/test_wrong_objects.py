"""Objects of the corpus that are wrong by themselves: kubectl and the API server refuse each, and say where the mistake is."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.apiserver.conftest import Place
from tests.harness.apiserver import CHECKOUT

WRONG = sorted((CHECKOUT / "tests" / "corpus" / "wrong").glob("*.yaml"))
# kubectl makes JSON of the file before it sends it, and the last of two equal keys wins silently.
ONLY_BY_THE_SERVER = {"key-twice"}


def test_the_corpus_is_there() -> None:
    assert len(WRONG) >= 50


@pytest.mark.parametrize("file", [f for f in WRONG if f.stem not in ONLY_BY_THE_SERVER], ids=lambda file: file.stem)
def test_refused_with_a_reason(place: Place, file: Path) -> None:
    answer = place.server.kubectl(
        "apply", "--validate=strict", "--dry-run=server", f"--namespace={place.namespace}", f"--filename={file}"
    )
    assert answer.returncode != 0, answer.stdout
    said = answer.stderr.strip()
    assert len(said) > 40, said
    # Where: a field by its path, a line of the file, or the kind that nobody knows.
    assert any(word in said for word in ("spec", "metadata.name", "line ", "no matches for kind")), said


def test_a_key_that_stands_twice_is_refused_where_the_file_arrives_as_it_is(place: Place) -> None:
    server = place.server
    text = next(f for f in WRONG if f.stem == "key-twice").read_bytes()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/yaml", "Accept": "application/json"}
    url = f"{server.url}{place.path('Stack')}?fieldValidation=Strict&dryRun=All"
    request = urllib.request.Request(url, text, headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(server.ca)), timeout=30)
    with refused.value as answer:
        assert answer.status == 400
        assert "already set in map" in answer.read().decode()
