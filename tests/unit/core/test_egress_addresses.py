"""The deny table against IANA's registries, the allow-list, and strict URLs."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.egress import addresses, urls
from core.egress.errors import EgressError

# Written out again from the registries and from the design, not taken from the module under test.
# fmt: off
SPECIAL_IPV4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "168.63.129.16/32", "100.100.100.200/32",
]
# fmt: on
# fmt: off
SPECIAL_IPV6 = [
    "::1/128", "::/128", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
    "2001:2::/48", "2001:20::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16",
    "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96", "200::/7", "4000::/3", "fd00:ec2::254/128",
]
# fmt: on
EVERYTHING = addresses.parse_rules(("0.0.0.0/0", "::/0", "metadata.test"))


def refusal(text: str, *, allow: tuple[str, ...] = (), host: str = "service.test", port: int = 443) -> str | None:
    return addresses.refusal(ip_address(text), host=host, port=port, rules=addresses.parse_rules(allow))


def nat64(address: IPv4Address) -> IPv6Address:
    return IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))


@pytest.mark.parametrize("network", SPECIAL_IPV4)
def test_first_and_last_address_of_every_special_ipv4_network_are_denied(network: str) -> None:
    net = IPv4Network(network)
    assert refusal(str(net[0]))
    assert refusal(str(net[-1]))


@pytest.mark.parametrize("network", SPECIAL_IPV6)
def test_first_and_last_address_of_every_special_ipv6_network_are_denied(network: str) -> None:
    net = IPv6Network(network)
    assert refusal(str(net[0]))
    assert refusal(str(net[-1]))


@given(st.sampled_from(SPECIAL_IPV4).flatmap(lambda network: st.ip_addresses(network=network)))
def test_special_ipv4_is_denied_in_every_disguise(address: IPv4Address) -> None:
    assert refusal(str(address))
    assert refusal(f"::ffff:{address}")
    assert refusal(f"::{address}")
    assert refusal(str(nat64(address)))
    assert refusal(str(IPv6Address((0x2002 << 112) | (int(address) << 80))))


@given(st.sampled_from(SPECIAL_IPV6).flatmap(lambda network: st.ip_addresses(network=network)))
def test_special_ipv6_is_denied(address: IPv6Address) -> None:
    assert refusal(str(address))


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_denied(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert address in IPv6Network("64:ff9b::/96") or refusal(str(address))


@given(st.ip_addresses(v=4))
def test_nat64_is_judged_as_the_address_it_stands_for(address: IPv4Address) -> None:
    assert bool(refusal(str(nat64(address)))) == bool(refusal(str(address)))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
)
def test_public_addresses_are_permitted(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002::", "2002:7f00:1::", "fe80::1%eth0"])
def test_known_disguises_of_local_addresses_are_denied(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("address", sorted(addresses.METADATA, key=str))
def test_metadata_stays_denied_when_everything_is_allowed(address: IPv4Address | IPv6Address) -> None:
    assert "metadata" in (addresses.refusal(address, host="metadata.test", port=80, rules=EVERYTHING) or "")


@pytest.mark.parametrize(
    "text", ["::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1"]
)
def test_disguised_metadata_stays_denied_when_everything_is_allowed(text: str) -> None:
    assert "metadata" in (addresses.refusal(ip_address(text), host="metadata.test", port=80, rules=EVERYTHING) or "")


@pytest.mark.parametrize(
    ("rule", "address", "host", "port", "permitted"),
    [
        ("db.internal", "10.0.0.5", "db.internal", 5432, True),
        ("DB.internal.", "10.0.0.5", "db.internal", 5432, True),
        ("db.internal", "10.0.0.5", "evil-db.internal", 5432, False),
        ("db.internal:5432", "10.0.0.5", "db.internal", 5432, True),
        ("db.internal:5432", "10.0.0.5", "db.internal", 5433, False),
        ("10.0.0.0/24:80", "10.0.0.9", "any.test", 80, True),
        ("10.0.0.0/24:80", "10.0.0.9", "any.test", 81, False),
        ("10.0.0.0/24:80", "10.0.1.9", "any.test", 80, False),
        ("127.0.0.1:80", "::ffff:127.0.0.1", "any.test", 80, True),
        ("[::1]:80", "::1", "any.test", 80, True),
        ("[::1]:80", "::1", "any.test", 81, False),
        ("[::1]", "::1", "any.test", 81, True),
        ("[fd00::/8]:443", "fd12::1", "any.test", 443, True),
        ("fd00::/8", "fd12::1", "any.test", 443, True),
        ("fd00::/8", "fc12::1", "any.test", 443, False),
    ],
)
def test_allow_list_opens_exactly_what_it_names(rule: str, address: str, host: str, port: int, permitted: bool) -> None:
    assert (refusal(address, allow=(rule,), host=host, port=port) is None) is permitted


@pytest.mark.parametrize(
    "rule", ["http://x:80", "host:0", "host:65536", "a b", "*.internal", "10.0.0.0/33:80", "host:", "", "0x7f.1"]
)
def test_an_unreadable_allow_list_item_is_named(rule: str) -> None:
    with pytest.raises(ValueError, match="is not host, host:port"):
        addresses.parse_rules((rule,))


@pytest.mark.parametrize(
    ("text", "host", "port", "url"),
    [
        ("http://Example.COM", "example.com", 80, "http://example.com"),
        ("https://example.com.:8443/a?b=1#c", "example.com", 8443, "https://example.com:8443/a?b=1"),
        ("http://93.184.216.34/", "93.184.216.34", 80, "http://93.184.216.34/"),
        ("http://[2606:4700:0::1111]:81/", "2606:4700::1111", 81, "http://[2606:4700::1111]:81/"),
        ("https://bücher.example/ü", "xn--bcher-kva.example", 443, "https://xn--bcher-kva.example/%C3%BC"),
        ("https://faß.de", "xn--fa-hia.de", 443, "https://xn--fa-hia.de"),
        ("http://my_service:80", "my_service", 80, "http://my_service"),
    ],
)
def test_a_good_url_is_read_in_one_way(text: str, host: str, port: int, url: str) -> None:
    target = urls.parse(text)

    assert (target.host, target.port, str(target.url)) == (host, port, url)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "example.com",
            "//example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "http:/example.com",
            "http://",
        ),
        *(
            "http://user@example.com",
            "http://user:pw@example.com",
            "http://@example.com",
            "http://example.com@evil.test",
        ),
        *("http://example.com\\@evil.test", "http:\\\\example.com", "http://example.com/\\evil"),
        *(
            "http://exa mple.com",
            " http://example.com",
            "http://example.com/a b",
            "http://example.com/\r\nX: y",
            "http://a\t.com",
        ),
        *(
            "http://2130706433",
            "http://0x7f000001",
            "http://0x7f.1",
            "http://0177.0.0.1",
            "http://127.1",
            "http://127.0.0.1.",
        ),
        *(
            "http://127.0.0.01",
            "http://256.1.1.1",
            "http://1.2.3",
            "http://a.0x",
            "http://\uff11\uff12\uff17.0.0.1",
            "http://127\u30020\u30020\u30021",
        ),
        *(
            "http://%31%32%37.0.0.1",
            "http://example%2ecom",
            "http://[fe80::1%25eth0]",
            "http://[fe80::1%eth0]",
            "http://[::1",
        ),
        *("http://[127.0.0.1]", "http://[::1]evil.test", "http://[::1].evil.test", "http://[v1.a]"),
        *(
            "http://example.com:0",
            "http://example.com:65536",
            "http://example.com:8_0",
            "http://example.com:+80",
            "http://example.com:",
        ),
        *(
            "http://example.com:\u0668\u0660",
            "http://example.com:80:80",
            "http://a..b",
            "http://-a.com",
            "http://a-.com",
            "http://.com",
        ),
        *(
            "http://a,b.com",
            "http://" + "a" * 64 + ".com",
            "http://xn--a.com",
            "http://exa\u200bmple.com",
            "http://ex\u2028.com",
        ),
        *("http://example.com\u3000", "http://☃.net", "http://a.b/" + "c" * 70_000),
    ],
)
def test_a_doubtful_url_is_refused(text: str) -> None:
    with pytest.raises(EgressError) as caught:
        urls.parse(text)

    assert (caught.value.code, caught.value.retryable, caught.value.sent) == ("bad_url", False, False)


def test_params_are_added_to_the_query() -> None:
    target = urls.parse("http://a.test/?x=1", params={"y": "ä b", "z": [1, 2], "on": True})

    assert target.url.raw_path == b"/?x=1&y=%C3%A4+b&z=1&z=2&on=true"


@given(st.text(max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://a.test/{text}"):
        with suppress(EgressError):
            target = urls.parse(candidate)
            assert target.url.raw_host.decode() == target.host
            assert target.host.isascii()
