"""Which clients may be kept out, and why others may not: judged by the address itself and by what is known around. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA special-purpose registries; documentation ranges are left out, as they harm nobody.
NEVER: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "the unspecified network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved or broadcast"),
    ("::/128", "the unspecified address"),
    ("::1/128", "loopback"),
    ("::/96", "an IPv4-compatible form"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
PRIVATE: tuple[tuple[str, str], ...] = (
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("100.64.0.0/10", "shared by a carrier's customers"),
    ("192.0.0.0/24", "for protocols, not for clients"),
    ("198.18.0.0/15", "for benchmarks, used by some networks of clusters"),
    ("fc00::/7", "private"),
    ("fec0::/10", "private"),
)
ALLOWED = "is in the allow list"
NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple((ipaddress.ip_network(n), w) for n, w in NEVER)
_PRIVATE = tuple((ipaddress.ip_network(n), w) for n, w in PRIVATE)
# Whoever keeps to the limit has at most so much of its own requests refused.
HEEDLESS_PERCENT = 50.0


@dataclass(frozen=True)
class Rules:
    """What the Stack allows. known: addresses that are something, such as a node, with what they are."""

    allow: tuple[str, ...] = ()
    allow_private: bool = False
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One client as the traffic shows it. percent: its share of all requests; refused: how much of its own, percent."""

    address: str
    percent: float
    refused: float = 100.0


@dataclass(frozen=True)
class Choice:
    """Addresses to block, the biggest first, and for each other client over the share why it is not."""

    addresses: tuple[str, ...]
    left_out: Mapping[str, str]


def why_not(text: str, rules: Rules) -> str:
    """Why this address must not be blocked; '' when it may."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "is no address"
    if str(address) != text or getattr(address, "scope_id", None):
        return f"is not in canonical form, which is {_canonical(address)}"
    if getattr(address, "ipv4_mapped", None) is not None:
        return f"is not in canonical form, which is {_canonical(address)}"
    if text in rules.known:
        return f"is {rules.known[text]}"
    return next((why for form in _forms(address) if (why := _range(form, rules))), "")


def _canonical(address: IPAddress) -> str:
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address).partition("%")[0]


def _forms(address: IPAddress) -> list[IPAddress]:
    """The address, and the IPv4 address that it carries: a translated one stands for the same machine."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    carried: list[IPAddress | None] = [address.sixtofour, address.teredo[1] if address.teredo else None]
    if address in NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(c for c in carried if c is not None)]


def _range(address: IPAddress, rules: Rules) -> str:
    allowed = next((n for n in rules.allow if address in ipaddress.ip_network(n)), "")
    if allowed:
        return f"{ALLOWED} ({allowed})"
    if str(address) in rules.known:
        return f"is {rules.known[str(address)]}"
    never = _within(address, _NEVER)
    if never:
        return f"is {never}"
    private = "" if rules.allow_private else _within(address, _PRIVATE)
    return f"is {private}; blocking.allowPrivate: true would let it be blocked" if private else ""


def _within(address: IPAddress, table: Sequence[tuple[IPNetwork, str]]) -> str:
    return next((what for network, what in table if address in network), "")


def choose(clients: Sequence[Client], most: int, min_percent: float, rules: Rules) -> Choice:
    """At most so many of those that ignore the limit and have that share; nobody where no other client is left."""
    reasons = {c.address: why_not(c.address, rules) for c in clients}
    over = [c for c in clients if c.percent >= min_percent and c.refused >= HEEDLESS_PERCENT]
    over.sort(key=lambda c: (-c.percent, c.address))
    able = [c for c in over if not reasons[c.address]]
    chosen = able[:most]
    left_out = {c.address: reasons[c.address] for c in over if reasons[c.address]}
    left_out |= {c.address: f"is one more than the {most} of one step" for c in able[most:]}
    # A proxy that hides its clients looks like one that makes all requests.
    others = [c for c in clients if c not in chosen and (not reasons[c.address] or reasons[c.address].startswith(ALLOWED))]
    if chosen and not others:
        why = "is the only client from outside, so it may be a proxy in front of them"
        return Choice((), left_out | {c.address: why for c in chosen})
    return Choice(tuple(c.address for c in chosen), left_out)


def single(address: str) -> str:
    """The address as a range of one."""
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
