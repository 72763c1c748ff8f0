"""Which addresses may be reached: our own table, the operator's allow-list, and cloud metadata never.

Source: IANA IPv4 and IPv6 Special-Purpose Address Registries, IANA IPv6 address space registry, RFC 6052 (NAT64).
`ipaddress.is_private` and `is_global` are not asked: they miss several of these and change between Python releases.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from core.egress import urls

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_IPV4: dict[IPv4Network, str] = {
    IPv4Network(network): reason
    for network, reason in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private use",
        "100.64.0.0/10": "shared address space (carrier NAT)",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private use",
        "192.0.0.0/24": "IETF protocol assignments",
        "192.0.2.0/24": "documentation",
        "192.31.196.0/24": "AS112",
        "192.52.193.0/24": "AMT",
        "192.88.99.0/24": "6to4 relay anycast",
        "192.168.0.0/16": "private use",
        "192.175.48.0/24": "AS112",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved and broadcast",
    }.items()
}
DENIED_IPV6: dict[IPv6Network, str] = {
    IPv6Network(network): reason
    for network, reason in {
        "::/8": "unspecified, loopback, IPv4-mapped and IPv4-compatible, local NAT64",
        "100::/64": "discard only",
        "100:0:0:1::/64": "dummy prefix",
        "2001::/23": "IETF protocol assignments, Teredo",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "2620:4f:8000::/48": "AS112",
        "3fff::/20": "documentation",
        "5f00::/16": "segment routing",
        "fc00::/7": "unique local",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }.items()
}
# Denied whatever the operator allows: one request there hands out the machine's credentials.
METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "169.254.0.23",  # Tencent
        "168.63.129.16",  # Azure wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_RULE = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Rule:
    """One item of an allow-list: a host name or a network, at one port or at all."""

    host: str | None
    network: Network | None
    port: int | None

    def permits(self, forms: Sequence[Address], *, host: str, port: int) -> bool:
        """Tell whether this rule opens the way to `host` and `port` at an address given in all its forms."""
        if self.port not in (None, port):
            return False
        if self.network is None:
            return self.host == host
        return any(form in self.network for form in forms if form.version == self.network.version)


@lru_cache(maxsize=64)
def parse_rules(entries: tuple[str, ...]) -> tuple[Rule, ...]:
    """Read allow-list items: `host`, `host:port`, `CIDR:port`, `[v6]`, `[v6]:port`, `[v6/len]:port`, and both bare.

    Raises: ValueError naming the item that is none of these.
    """
    return tuple(_parse_rule(entry) for entry in entries)


def refusal(address: Address, *, host: str, port: int, rules: Sequence[Rule] = ()) -> str | None:
    """Return why `address` (one answer for `host`) must not be reached at `port`, or None if it may."""
    forms = _forms(address)
    if not METADATA.isdisjoint(forms):
        return f"{address} is a cloud metadata address"
    if any(rule.permits(forms, host=host, port=port) for rule in rules):
        return None
    reason = _denied(forms[0])
    return f"{address} is denied: {reason}" if reason else None


def _parse_rule(entry: str) -> Rule:
    if network := _network(entry):
        return Rule(None, network, None)
    match = _RULE.fullmatch(entry)
    port = int(match["port"]) if match and match["port"] else None
    if not match or port == 0 or (port or 0) > urls.MAX_PORT:
        raise ValueError(f"{entry!r} is not host, host:port, CIDR:port or [IPv6]:port")
    target = match["bracketed"] or match["plain"]
    if network := _network(target):
        return Rule(None, network, port)
    try:
        return Rule(urls.normal_host(target), None, port)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not host, host:port, CIDR:port or [IPv6]:port: {error}") from error


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _forms(address: Address) -> tuple[Address, ...]:
    """Return the address without its scope, then every IPv4 address that it may stand for."""
    if isinstance(address, IPv4Address):
        return (address,)
    plain = IPv6Address(int(address))
    return (plain, *_embedded(plain))


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if any(address in network for network in (_NAT64, _LOCAL_NAT64, _IPV4_COMPATIBLE)):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _denied(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in DENIED_IPV4.items() if address in network), None)
    if address in _NAT64:
        return _denied(IPv4Address(int(address) & 0xFFFF_FFFF))
    named = next((reason for network, reason in DENIED_IPV6.items() if address in network), None)
    return named or (None if address in _GLOBAL_UNICAST else "not global unicast")
