"""What the shards of a copy answer, held to what the server answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.backups.manifest import Canary, Check, CollectionFacts
from .engine import Answer, Hit
from .facts import TOP, dense_vectors, payload_types
from .records import sample_hash

# Processors with other vector units add up in another order.
SCORE = 1e-3
OVERLAP = 0.9
SHOWN = 5

Outcome = tuple[bool | None, str]


def compared(collection: CollectionFacts, answers: Sequence[Answer]) -> list[Check]:
    """One check for each kind of damage that the engine itself does not notice."""
    found = [
        ("count", _count(collection, sum(answer.points for answer in answers))),
        ("payloadSchema", _schema(collection, answers)),
        ("sample", _sample(collection, answers)),
        ("canaries", _canaries(collection, answers)),
        ("vectors", _vectors(answers)),
        ("selfSearch", _self_search(answers)),
    ]
    return _checks(collection, found)


def compared_live(collection: CollectionFacts, answer: Answer) -> list[Check]:
    """The same for a collection that was restored on a server; points that its log held beyond the cut are no failure."""
    found = [
        ("count", _count(collection, answer.points)),
        ("payloadSchema", _schema(collection, [answer])),
        ("sample", _sample(collection, [answer])),
        ("canaries", _canaries(collection, [answer])),
    ]
    return _checks(collection, found)


def _checks(collection: CollectionFacts, found: Sequence[tuple[str, Outcome]]) -> list[Check]:
    return [Check(name=f"qdrant/{collection.name}/{name}", ok=ok, detail=detail[:512]) for name, (ok, detail) in found]


def _count(collection: CollectionFacts, points: int) -> Outcome:
    before, after = collection.points_before, collection.points_after
    if before == after:
        return points == before, f"{points} points, the server counted {before}"
    # While it was written to, the cut lies somewhere between; deletions and insertions may pass each other.
    low, high = min(before, after), max(before, after)
    slack = high - low
    return low - slack <= points <= high + slack, f"{points} points, the server counted {before} before and {after} after"


def _schema(collection: CollectionFacts, answers: Sequence[Answer]) -> Outcome:
    wanted = payload_types(collection.payload_schema)
    for number, answer in enumerate(answers):
        wrong = {field for field in wanted.keys() | answer.payload_types.keys()
                 if wanted.get(field) != answer.payload_types.get(field)}  # fmt: skip
        if wrong:
            return False, f"shard {number} is indexed otherwise than the server said: {', '.join(sorted(wrong)[:SHOWN])}"
    return True, f"{len(wanted)} indexed fields"


def _sample(collection: CollectionFacts, answers: Sequence[Answer]) -> Outcome:
    if not collection.sample_ids:
        empty = not collection.points_before and not collection.points_after
        return (True, "no points") if empty else (None, "no point stayed the same while the snapshot was made")
    found: dict[str, str] = {}
    for answer in answers:
        twice = found.keys() & answer.samples.keys()
        if twice:
            return False, f"points are in two shards: {_few(sorted(twice))}"
        found |= answer.samples
    wanted = dict(zip(collection.sample_ids, collection.sample_hashes, strict=False))
    if not wanted:
        same = sample_hash(found.get(each, "") for each in collection.sample_ids) == collection.sample_sha256
        return same, f"hash over {len(collection.sample_ids)} points"
    missing = [each for each in wanted if each not in found]
    changed = [each for each in wanted if each in found and found[each] != wanted[each]]
    if missing or changed:
        return (
            False,
            f"of {len(wanted)} points {len(missing)} are missing and {len(changed)} differ: {_few(missing + changed)}",
        )
    return sample_hash(wanted.values()) == collection.sample_sha256, f"{len(wanted)} points are the same"


def _canaries(collection: CollectionFacts, answers: Sequence[Answer]) -> Outcome:
    if not collection.canaries:
        vectors = dense_vectors(collection.config)
        nothing = not vectors or not collection.points_before
        return (
            (True, "nothing to search") if nothing else (None, "no search answered the same before and after the snapshot")
        )
    shares: list[float] = []
    for number, canary in enumerate(collection.canaries):
        nearest_first = _nearest_first(collection, canary)
        hits = [hit for answer in answers for hit in answer.canaries[number]]
        hits.sort(key=lambda hit: hit.score, reverse=nearest_first)
        share, wrong = _answered(canary, hits[:TOP])
        if wrong:
            return False, f"search {number + 1} of {len(collection.canaries)}: {wrong}"
        shares.append(share)
    overlap = sum(shares) / len(shares)
    return overlap >= OVERLAP, f"{len(shares)} searches find {overlap:.0%} of what the server found"


def _nearest_first(collection: CollectionFacts, canary: Canary) -> bool:
    settings = dense_vectors(collection.config).get(canary.vector_name, {})
    return settings.get("distance") in {"Cosine", "Dot"}


def _answered(canary: Canary, hits: Sequence[Hit]) -> tuple[float, str]:
    """Share of the expected ids that were found, and what is wrong with a score."""
    found = {hit.id: hit.score for hit in hits}
    for each, score in zip(canary.expected, canary.scores, strict=False):
        if each in found and abs(found[each] - score) > SCORE * max(1.0, abs(score)):
            return 0.0, f"point {each} scores {found[each]:g}, with the server it was {score:g}"
    worst = (canary.scores or [0.0])[-1]
    tied = sum(1 for each, score in zip(canary.expected, canary.scores, strict=False)
               if each not in found and abs(score - worst) <= SCORE * max(1.0, abs(worst)))  # fmt: skip
    there = sum(1 for each in canary.expected if each in found) + min(tied, len(hits))
    return there / max(1, len(canary.expected)), ""


def _vectors(answers: Sequence[Answer]) -> Outcome:
    seen, zero = sum(answer.scanned for answer in answers), sum(answer.zero for answer in answers)
    odd = [each for answer in answers for each in answer.odd]
    if odd:
        return False, f"vectors are not of length 1, or no numbers: points {_few(odd)}"
    if zero * 2 > seen:
        return False, f"{zero} of {seen} vectors are zero"
    return True, f"{seen} looked at, {zero} of them zero"


def _self_search(answers: Sequence[Answer]) -> Outcome:
    asked = sum(answer.own_asked for answer in answers)
    missed = [each for answer in answers for each in answer.own_missed]
    if missed:
        return False, f"searched by their own vector, points are not found: {_few(missed)}"
    return True, f"{asked} points find themselves"


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")
