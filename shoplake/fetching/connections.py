"""Connections to services: which addresses may be spoken to, and until when.

A name is looked up once, every address that it has is judged, and the connection goes to one of those: a name server
that answers otherwise a moment later changes nothing. However an address is written (2130706433, 0x7f.1,
::ffff:127.0.0.1), what is judged is the one that the operating system made of it.
"""

import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from shoplake.errors import SourceError

Address = IPv4Address | IPv6Address
# IPv6 networks whose addresses end with the IPv4 one that they stand for: NAT64's two, IPv4-compatible, translated.
_ENDS_WITH_IPV4 = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))
_NOBODYS = (IPv6Address("::"), IPv6Address("::1"))  # nobody and this machine, which lie in ::/96
_RELAYS = ip_network("192.88.99.0/24")  # of 6to4, for whatever address
# What clouds give their machines' own rights from, where it is not link-local: Amazon's, Google's and Alibaba's in
# IPv6 and IPv4, Azure's and Oracle's.
_METADATA = frozenset(map(ip_address, (
    "169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")))


def is_allowed(address: Address, is_private: bool) -> bool:
    """Tell whether a source may be at an address: in the public network, or in a private one if it says that it is.

    One that says so is nowhere else: its token may travel without TLS. Link-local ones, those of clouds' metadata,
    multicast and those of nobody are never allowed.
    """
    plain = _unwrap(address)
    if plain in _METADATA or plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain in _RELAYS:
        return False
    if isinstance(plain, IPv6Address) and plain.is_site_local:
        return is_private
    return plain.is_loopback or plain.is_private if is_private else plain.is_global


def _unwrap(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 one only stands for."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address not in _NOBODYS and any(address in network for network in _ENDS_WITH_IPV4):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def look_up(host: str, port: int, is_private: bool) -> list[str]:
    """Give a host's addresses, all of them allowed.

    Raises:
        SourceError: one is not; who answers with a good and a bad one may mean either.
        OSError: there is none.
    """
    found = [str(place[4][0]) for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for one in found:
        if not is_allowed(ip_address(one), is_private):
            why = "which no source may be at"
            if is_private and is_allowed(ip_address(one), False):
                why = "in the public network, and its definition says private_network: true"
            elif not is_private and is_allowed(ip_address(one), True):
                why = ("in a private network or on this machine. If that is where the source is meant to be, say so in "
                       "its definition: private_network: true")
            raise SourceError(f"{host} is at {one}, {why}; nothing was sent")
    return list(dict.fromkeys(found))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to allowed addresses only, and ends what takes longer than `seconds` from `begin` on.

    The time-outs of a client begin anew with each byte that comes; this one does not.
    """

    def __init__(self, seconds: float, is_private: bool) -> None:
        """Guard the connections of one client."""
        self._seconds = seconds
        self._is_private = is_private
        self._end = float("inf")

    def begin(self) -> None:
        """Begin a request."""
        self._end = time.monotonic() + self._seconds

    def limit(self, timeout: float | None, error: type[Exception]) -> float:
        """Give the seconds that one step may take."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise error(f"it takes more than {self._seconds:g} s (page_seconds)")
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the host's addresses."""
        try:
            addresses = look_up(host, port, self._is_private)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from error
        for address in addresses:
            limit = self.limit(timeout, httpcore.ConnectTimeout)
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, limit, local_address, socket_options)
                return _GuardedStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")


class _GuardedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, backend: GuardedBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.limit(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = self._backend.limit(timeout, httpcore.ConnectTimeout)
        return _GuardedStream(self._stream.start_tls(ssl_context, server_hostname, limit), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
