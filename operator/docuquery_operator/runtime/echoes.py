"""Which watch events are only the echo of a write of this process, and say nothing that its writer has not decided on."""

from __future__ import annotations

from ..ports import Key

# Of one key at once; of what is dropped, the echo costs one pass.
KEPT = 8


class Echoes:
    """One for the queue. An event is left out only when the pass that wrote this very version has said that it is decided.

    The API server took that write on the version that the pass had read, so nothing foreign lies between; whatever anybody
    else writes, before or after, has a version of its own and is looked at. Events that come while a pass runs wait for its
    end, as its write may be in them before its answer has come.
    """

    def __init__(self) -> None:
        self._running: dict[Key, set[str]] = {}
        self._said: dict[Key, list[str]] = {}
        self._awaited: dict[Key, list[str]] = {}

    def news(self, key: Key, version: str) -> bool:
        """Whether an event asks for a pass now; one that comes while a pass runs is judged at the end of that pass."""
        if not version:
            # It is gone, or nobody knows what was seen.
            self._awaited.pop(key, None)
            return True
        if self._heard(key, version):
            return False
        if key in self._running:
            self._running[key].add(version)
            return False
        return True

    def begins(self, key: Key) -> None:
        """A pass of this key runs."""
        self._running[key] = set()

    def decided(self, key: Key, version: str) -> None:
        """Said by the running pass: it has written this version, and needs no look at it but the next that it asks for."""
        if version and key in self._running:
            self._said.setdefault(key, []).append(version)

    def ends(self, key: Key, well: bool) -> bool:
        """Whether something was heard meanwhile that asks for another pass. well: a pass that failed has decided nothing."""
        heard, said = self._running.pop(key, set()), self._said.pop(key, [])
        if well:
            awaited = self._awaited.get(key, []) + [v for v in said if v not in heard]
            self._awaited[key] = awaited[-KEPT:]
            heard -= set(said)
            if not awaited:
                del self._awaited[key]
        return bool(heard)

    def _heard(self, key: Key, version: str) -> bool:
        """Events of one object come in order: with this one, all before it have come or will never come."""
        awaited = self._awaited.get(key, [])
        if version not in awaited:
            return False
        left = awaited[awaited.index(version) + 1 :]
        self._awaited[key] = left
        if not left:
            del self._awaited[key]
        return True
