"""The actions of the catalogue. A new action is one file here, one line below, and its test."""

from __future__ import annotations

from ..base import Action
from .block_clients import BlockClients
from .cache_keys import DropCacheKeys
from .clients import KillIdleClients
from .limits import SetTemporaryLimits
from .optimize_collections import OptimizeCollections
from .passive import ProposeMemory, ProposeScaling, ProposeVolume, WaitForRecovery
from .quarantine import DropQuarantine, PutBackQuarantine, QuarantineQueue
from .redis_aside import DropRedisAside, PutBackRedis, SetAsideRedis
from .restart_workload import RestartWorkload
from .scale_workload import ScaleWorkload
from .sessions import RestartLeakingClient, TerminateBlocker, TerminateIdleSessions

_ALL: tuple[Action, ...] = (
    RestartWorkload(),
    RestartLeakingClient(),
    TerminateIdleSessions(),
    TerminateBlocker(),
    KillIdleClients(),
    DropCacheKeys(),
    SetAsideRedis(),
    PutBackRedis(),
    DropRedisAside(),
    BlockClients(),
    QuarantineQueue(),
    PutBackQuarantine(),
    DropQuarantine(),
    OptimizeCollections(),
    ScaleWorkload(),
    SetTemporaryLimits(),
    WaitForRecovery(),
    ProposeMemory(),
    ProposeVolume(),
    ProposeScaling(),
)
ACTIONS: dict[str, Action] = {a.name: a for a in _ALL}
