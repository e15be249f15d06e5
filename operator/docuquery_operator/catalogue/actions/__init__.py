"""The actions of the catalogue. A new action is one file here, one line below, and its test."""

from __future__ import annotations

from ..base import Action
from .block_clients import BlockClients
from .clients import KillIdleClients
from .passive import ProposeMemory, ProposeVolume, WaitForRecovery
from .quarantine import DropQuarantine, PutBackQuarantine, QuarantineQueue
from .restart_workload import RestartWorkload
from .sessions import RestartLeakingClient, TerminateBlocker, TerminateIdleSessions

_ALL: tuple[Action, ...] = (
    RestartWorkload(),
    RestartLeakingClient(),
    TerminateIdleSessions(),
    TerminateBlocker(),
    KillIdleClients(),
    BlockClients(),
    QuarantineQueue(),
    PutBackQuarantine(),
    DropQuarantine(),
    WaitForRecovery(),
    ProposeMemory(),
    ProposeVolume(),
)
ACTIONS: dict[str, Action] = {a.name: a for a in _ALL}
