"""Addresses that messages may never go to, in all the spellings that a resolver understands (threat T5)."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from docuquery_operator.adapters.channels.base import SetupError
from docuquery_operator.adapters.channels.guard import Guard

REFUSED = [
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1",
    "169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "fe80::1", "fe80::1%eth0", "febf::1",
    "224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "240.0.0.1", "255.255.255.255", "fd00:ec2::254", "fd20:ce::254",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "::ffff:100.100.100.200", "::ffff:0.0.0.0", "64:ff9b::6464:64c8", "2002:6464:64c8::", "::ffff:224.0.0.1", "10.96.0.1",
]  # fmt: skip
SPELLED = [
    "localhost", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0", "0x0",
    "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "025177524776", "169.254.43518", "169.16689662",
    "127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "0.0.0.0", "::", "169.254.169.254", "fe80::1",
]  # fmt: skip
FINE = ["8.8.8.8", "10.0.0.7", "172.16.5.4", "192.168.1.1", "2606:4700::1111", "fd12:3456::1", "::ffff:10.0.0.7"]


@pytest.mark.parametrize("address", REFUSED)
def test_never(address: str) -> None:
    assert Guard(refused=["10.96.0.1"]).refuses(address)


@pytest.mark.parametrize("address", FINE)
def test_a_relay_in_the_cluster_and_the_world_outside_are_fine(address: str) -> None:
    assert Guard(refused=["10.96.0.1"]).refuses(address) == ""


@pytest.mark.parametrize("host", SPELLED)
async def test_however_it_is_spelled(host: str) -> None:
    with pytest.raises((SetupError, socket.gaierror)):
        await Guard().addresses(host, 443)


async def test_one_bad_address_among_good_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in ("8.8.8.8", "169.254.169.254")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(SetupError, match="link-local"):
        await Guard().addresses("rebind.example", 443)


def test_an_administrator_may_allow_a_network() -> None:
    guard = Guard(allowed=["127.0.0.0/8", "fe80::/10"])
    assert [guard.refuses(a) for a in ("127.0.0.1", "fe80::2", "::ffff:127.0.0.1")] == ["", "", ""]
    assert guard.refuses("169.254.169.254")


def test_there_are_enough_of_them() -> None:
    assert len({*REFUSED, *SPELLED}) >= 50
