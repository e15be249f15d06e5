"""How clients of an Api are kept out for a time, and which are kept out now."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from .common import ApiModel, Cel, Duration, ListSet, ObjectName, Time, seconds

MOST_ADDRESSES = 20
LONGEST_BLOCK = "24h"
# As the reference api reads it.
KEY_PREFIX = "blocked_client:"
CIDR_MESSAGE = "write a CIDR range such as 203.0.113.0/24 or 2001:db8::/32; one address is 203.0.113.7/32"
LONGEST_MESSAGE = "a block ends by itself after 24h at most: write a duration from 1s to 24h, such as 1h"


def _cidr(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f"'{value}' is no range: {CIDR_MESSAGE}") from None
    if "/" not in value or "%" in value:
        raise ValueError(f"'{value}' is no range: {CIDR_MESSAGE}")
    return str(network)


def _bounded(value: str) -> str:
    if not 1 <= seconds(value) <= seconds(LONGEST_BLOCK):
        raise ValueError(LONGEST_MESSAGE)
    return value


Cidr = Annotated[
    str,
    AfterValidator(_cidr),
    Field(max_length=43, description="Range of addresses such as 203.0.113.0/24"),
    Cel("isCIDR(self) && cidr(self).masked() == cidr(self)", CIDR_MESSAGE),
]
BlockTime = Annotated[
    Duration,
    AfterValidator(_bounded),
    Cel("duration(self) >= duration('1s') && duration(self) <= duration('24h')", LONGEST_MESSAGE),
]


class EnforcerName(StrEnum):
    """Who keeps a blocked client out."""

    API_DENY_SET = "ApiDenySet"
    NETWORK_POLICY = "NetworkPolicy"
    INGRESS_NGINX = "IngressNginx"


class Blocking(ApiModel):
    """How clients are kept out; without it none ever is."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(self.enforcer == 'IngressNginx') == has(self.ingress)",
            "enforcer: IngressNginx needs ingress, the name of the Ingress; the other enforcers take none",
        ),
    )

    enforcer: Annotated[
        EnforcerName,
        Field(
            description="ApiDenySet: keys in the Redis that the api rests on, which the api must read; NetworkPolicy: a "
            "policy of the operator's own, for clients whose address reaches the pods; IngressNginx: an Ingress's deny list"
        ),
    ]
    ingress: Annotated[ObjectName | None, Field(description="The Ingress of the Stack's namespace, for IngressNginx")] = None
    allow: Annotated[
        list[Cidr],
        ListSet(),
        Field(max_length=64, description="Ranges that are never blocked: proxies, offices, monitoring, partners"),
    ] = []
    allow_private: Annotated[
        bool,
        Field(
            description="True: private addresses may be blocked as well, where clients have such; nodes, pods of the Stack, "
            "Services and the operator never are"
        ),
    ] = False
    max_for: Annotated[BlockTime, Field(description="Longest time of a block, at most 24h")] = LONGEST_BLOCK
    key_prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9:_.-]+$",
            max_length=64,
            description="ApiDenySet: what stands before the address in the key that the api reads",
        ),
    ] = KEY_PREFIX


class Block(ApiModel):
    """Clients that are kept out for a time by one step."""

    attempt_id: Annotated[str, Field(max_length=64, description="The step's attempt")]
    component: Annotated[str, Field(max_length=63, description="The component that they are kept from")]
    enforcer: Annotated[EnforcerName, Field(description="Who keeps them out")]
    object: Annotated[str, Field(max_length=253, description="The Service of Redis, the NetworkPolicy or the Ingress")]
    addresses: Annotated[
        list[Annotated[str, Field(max_length=45)]],
        ListSet(),
        Field(max_length=MOST_ADDRESSES, description="The addresses"),
    ]
    since: Annotated[Time, Field(description="When it began")]
    until: Annotated[Time, Field(description="When it ends by itself")]

    def over(self, now: datetime) -> bool:
        """Whether its time is up."""
        return now >= self.until
