"""Loads synthetic documents through the api and waits until the worker is done: `python -m app.seed`."""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx

from app.config import settings

_SUBJECTS = ("invoice", "contract", "warranty", "manual", "policy", "report", "survey", "proposal", "audit", "minutes")
_WORDS = [
    "archive",
    "balance",
    "cabinet",
    "delivery",
    "engine",
    "forecast",
    "garden",
    "harbour",
    "inventory",
    "journal",
    "kernel",
    "ledger",
    "market",
    "notice",
    "orbit",
    "payment",
    "quarter",
    "refund",
    "shipment",
    "tariff",
    "update",
    "vendor",
    "warehouse",
    "yield",
    "zone",
    "approval",
    "budget",
    "customer",
    "deadline",
    "estimate",
    "facility",
    "guideline",
    "handover",
    "insurance",
    "jurisdiction",
    "liability",
    "maintenance",
    "network",
    "obligation",
    "procedure",
    "quality",
]
_BATCH = 50


def documents(count: int, seed: int = 1) -> Iterator[dict[str, str]]:
    """`count` documents, the same ones in every run; each holds a word that no other holds."""
    chance = random.Random(seed)
    for number in range(count):
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        words = chance.choices(_WORDS, k=chance.randint(60, 300))
        text = f"This {subject} has the reference docref{number:05d}. " + " ".join(words) + "."
        yield {"title": f"{subject.title()} {number:05d}", "text": text}


class Loader:
    """Talks to the api with patience: it may be starting, away, or limiting us."""

    def __init__(self, client: httpx.Client, deadline: float) -> None:
        """Give up at `deadline` on the monotonic clock."""
        self._client = client
        self._deadline = deadline

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Repeat until the api answers with success."""
        while True:
            wait, problem = 2.0, "no answer"
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.TransportError as error:
                problem = type(error).__name__
            else:
                if answer.is_success:
                    return dict(answer.json())
                problem = f"HTTP {answer.status_code}"
                wait = float(answer.headers.get("retry-after", wait))
                if answer.status_code not in {429, 500, 502, 503, 504}:
                    raise SystemExit(f"the api refused {method} {path}: {problem} {answer.text[:300]}")
            self._pause(wait, f"{method} {path}: {problem}")

    def load(self, all_documents: list[dict[str, str]]) -> None:
        """Send everything in batches."""
        for start in range(0, len(all_documents), _BATCH):
            self.call("POST", "/documents/batch", {"documents": all_documents[start : start + _BATCH]})
            print(f"sent {min(start + _BATCH, len(all_documents))} of {len(all_documents)}", flush=True)

    def wait(self, count: int) -> dict[str, Any]:
        """Wait until nothing is left to do and at least `count` documents are there."""
        while True:
            found = self.call("GET", "/info")
            state = found["documents"]
            print(f"documents: {state}", flush=True)
            if state["total"] >= count and state["queued"] + state["processing"] == 0:
                return found
            self._pause(2.0, f"still waiting for documents: {state}")

    def _pause(self, seconds: float, why: str) -> None:
        if time.monotonic() + seconds > self._deadline:
            raise SystemExit(f"gave up: {why}")
        time.sleep(seconds)


def main(arguments: list[str]) -> int:
    """Load, wait, and fail when a document failed."""
    parser = argparse.ArgumentParser(prog="app.seed", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="number of documents (default 300)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds until it gives up (default 600)")
    options = parser.parse_args(arguments)
    headers = {"User-Agent": "docuquery-seed", "X-User-Id": "seed"}
    with httpx.Client(base_url=settings().api_url, timeout=15, headers=headers) as client:
        loader = Loader(client, time.monotonic() + options.timeout)
        loader.load(list(documents(options.count)))
        found = loader.wait(options.count)
    print(f"done: {found}")
    return 1 if found["documents"]["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
