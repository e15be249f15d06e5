"""The node's network namespace, with one veth pair to the host and no way beyond it."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import run

NAMESPACES = Path("/run/netns")


def namespace_path(settings: Settings) -> Path:
    """Where the namespace is bound; entered by `nsenter --net=`, for `ip netns exec` would remount /sys."""
    return NAMESPACES / settings.node


def exists(settings: Settings) -> bool:
    """Whether the namespace is there."""
    return namespace_path(settings).exists()


def create(settings: Settings) -> None:
    """Make the namespace, the veth pair and the routes."""
    inside = ["ip", "-n", settings.node]
    run(["ip", "netns", "add", settings.node])
    run(["ip", "link", "add", settings.host_link, "type", "veth", "peer", "name", settings.node_link,
         "netns", settings.node])  # fmt: skip
    run(["ip", "addr", "add", f"{settings.host_ip}/30", "dev", settings.host_link])
    run(["ip", "link", "set", settings.host_link, "up"])
    run([*inside, "addr", "add", f"{settings.node_ip}/30", "dev", settings.node_link])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "link", "set", settings.node_link, "up"])
    # No default route: nothing in the cluster can reach beyond this machine. The node's own programs
    # still need a route to ClusterIPs, or the kernel refuses before kube-proxy's rules see the packet.
    run([*inside, "route", "add", settings.services, "dev", settings.node_link])
    for network in (settings.pods, settings.services):
        run(["ip", "route", "add", network, "via", settings.node_ip])
    run(["nsenter", f"--net={namespace_path(settings)}", "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def remove(settings: Settings) -> None:
    """Remove all of it; the routes go with the link."""
    if settings.host_link in link_names():
        run(["ip", "link", "del", settings.host_link], check=False)
    if exists(settings):
        run(["ip", "netns", "del", settings.node])


def link_names() -> set[str]:
    """The names of the host's network links."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def check_ranges_free(settings: Settings) -> None:
    """Refuse to take addresses that the host already routes somewhere else."""
    routes = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]")
    for wanted in (settings.pods, settings.services, settings.link):
        taken = overlap(wanted, routes, settings.host_link)
        if taken:
            raise LocalClusterError(
                f"the address range {wanted} is in use ({taken}): set DOCUQUERY_NET to another second octet, such as 71"
            )


def overlap(wanted: str, routes: list[dict[str, object]], own_link: str) -> str | None:
    """The first route that overlaps a range and is not the cluster's own."""
    network = ipaddress.ip_network(wanted)
    for route in routes:
        destination, device = str(route.get("dst", "default")), str(route.get("dev", "?"))
        if destination == "default" or device == own_link:
            continue
        if ipaddress.ip_network(destination, strict=False).overlaps(network):
            return f"{destination} dev {device}"
    return None
