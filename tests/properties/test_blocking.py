"""No address that is not a client's is ever blocked, however it is written; random addresses and ranges."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.domain.remedies.blocking import Client, Rules, choose, why_not

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
PREFIXES = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"),
    *("240.0.0.0/4", "0.0.0.0/8", "fc00::/7", "fe80::/10", "ff00::/8", "::/128", "::1/128"),
)
ALWAYS = tuple(ipaddress.ip_network(p) for p in PREFIXES[4:9] + PREFIXES[10:])
SPECIAL = st.sampled_from(PREFIXES).flatmap(lambda p: st.ip_addresses(network=p))
ANY = st.one_of(V4, V6, SPECIAL)


@given(SPECIAL)
def test_special_ranges_are_never_blocked(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert why_not(str(address), Rules())


@given(SPECIAL)
def test_private_ones_only_where_the_stack_says_so(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    never = any(address in n for n in ALWAYS if n.version == address.version)
    assert bool(why_not(str(address), Rules(allow_private=True))) is never


@given(V4, st.booleans())
def test_a_mapped_or_translated_address_gets_no_better_verdict(address: ipaddress.IPv4Address, private: bool) -> None:
    rules = Rules(allow_private=private)
    assert "canonical" in why_not(str(ipaddress.IPv6Address(f"::ffff:{address}")), rules)
    assert "canonical" in why_not(f"::ffff:{address}", rules)
    carriers = (
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address)),
        ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1),
    )
    assert all(bool(why_not(str(c), rules)) == bool(why_not(str(address), rules)) for c in carriers)


@given(ANY, st.integers(0, 128))
def test_the_allow_list_wins(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> None:
    network = ipaddress.ip_network(f"{address}/{min(length, address.max_prefixlen)}", strict=False)
    assert why_not(str(address), Rules(allow=(str(network),), allow_private=True))


@given(ANY, st.booleans())
def test_what_is_known_is_never_blocked(address: ipaddress.IPv4Address | ipaddress.IPv6Address, private: bool) -> None:
    assert why_not(str(address), Rules(allow_private=private, known={str(address): "a node"}))


@given(st.text(max_size=60))
def test_text_is_no_address(text: str) -> None:
    why = why_not(text, Rules(allow_private=True))
    if not why:
        assert str(ipaddress.ip_address(text)) == text


@given(V6)
def test_only_the_canonical_form_is_taken(address: ipaddress.IPv6Address) -> None:
    assert why_not(address.exploded, Rules(allow_private=True)) or address.exploded == str(address)
    assert why_not(str(address).upper() + "%eth0", Rules(allow_private=True))


CLIENTS = st.lists(
    st.builds(Client, ANY.map(str), st.floats(0, 100), st.floats(0, 100)), max_size=30, unique_by=lambda c: c.address
)


@given(CLIENTS, st.integers(1, 20), st.integers(5, 100), st.booleans())
def test_the_choice_is_bounded_and_leaves_somebody(clients: list[Client], most: int, share: int, private: bool) -> None:
    rules = Rules(allow_private=private)
    choice = choose(clients, most, share, rules)
    by_address = {c.address: c for c in clients}
    assert len(choice.addresses) <= most
    assert not set(choice.addresses) & set(choice.left_out)
    for address in choice.addresses:
        assert why_not(address, rules) == ""
        assert by_address[address].percent >= share
        assert by_address[address].refused >= 50
    if choice.addresses:
        assert any(c.address not in choice.addresses and not why_not(c.address, rules) for c in clients)
