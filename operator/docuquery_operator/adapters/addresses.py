"""Which addresses messages may go to: nothing that only this machine or the cloud's metadata service answers at (threat T5).

Private addresses are allowed, as a mail relay or a receiver in the cluster has one; the Kubernetes API is not. The standard
library alone, as the process of the apprise channel wants to start quickly.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Metadata services of clouds outside of the link-local networks.
METADATA = ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Addresses:
    """allowed: networks that may be sent to although they are refused otherwise; refused: further addresses."""

    def __init__(self, allowed: Collection[str] = (), refused: Collection[str] = ()) -> None:
        self.allowed, self.refused = tuple(allowed), tuple(refused)
        self._allowed = [ipaddress.ip_network(n, strict=False) for n in allowed]
        self._refused = {ipaddress.ip_address(a) for a in (*METADATA, *refused)}

    def refuses(self, text: str) -> str:
        """Why an address may not be sent to, '' when it may."""
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        if any(address in network for network in self._allowed if network.version == address.version):
            return ""
        if address in self._refused:
            return "a metadata service or the Kubernetes API"
        for kind in ("loopback", "link_local", "multicast", "unspecified", "reserved"):
            if getattr(address, f"is_{kind}"):
                return f"it is {kind.replace('_', '-')}"
        return ""


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
