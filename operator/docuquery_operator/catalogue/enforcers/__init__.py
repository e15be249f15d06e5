"""The enforcers: one interface, chosen by the Stack's component."""

from __future__ import annotations

from collections.abc import Mapping

from ...api.blocking import EnforcerName
from .base import Enforcer, Obstacle
from .deny_set import ApiDenySet
from .ingress_nginx import IngressNginx
from .network_policy import NetworkPolicy

ENFORCERS: Mapping[EnforcerName, Enforcer] = {
    EnforcerName.API_DENY_SET: ApiDenySet(),
    EnforcerName.NETWORK_POLICY: NetworkPolicy(),
    EnforcerName.INGRESS_NGINX: IngressNginx(),
}

__all__ = ["ENFORCERS", "Enforcer", "Obstacle"]
