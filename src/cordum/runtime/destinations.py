"""Where a process may connect to when somebody else's text says so (spec-auth section 2.7).

One guard for every URL that comes from a setting or a user: scheme and host are looked at before anything is resolved,
and the address before it is dialled. What a name resolves to is looked up once and that very address is dialled, so a
name cannot mean one thing to the check and another to the connection.
"""

import ipaddress
from typing import Final

import httpx
import msgspec

from cordum.core.addresses import METADATA_ADDRESSES, METADATA_NAMES, IpAddress, is_public, meant
from cordum.core.errors import CordumError

_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain")


class RefusedDestinationError(CordumError):
    """The address must not be connected to."""

    code = "destination_refused"


class Destinations(msgspec.Struct, frozen=True, kw_only=True):
    """Where may be connected to.

    Attributes:
        hosts: host names, lower case, each with its sub-domains; none: every one.
        schemes: of URLs.
        allow_private: whether private, loopback and link-local addresses may be dialled. Those of cloud metadata
            services never may.
    """

    hosts: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https",)
    allow_private: bool = False

    def check_url(self, url: httpx.URL) -> None:
        """Raises RefusedDestinationError when scheme or host will not do; nothing is resolved."""
        if url.scheme not in self.schemes:
            raise RefusedDestinationError(f"{url.scheme or 'no scheme'}: only {' and '.join(self.schemes)} is allowed")
        if url.userinfo:
            raise RefusedDestinationError("a URL with a user or password in it")
        host = url.host.lower().rstrip(".")
        if not host:
            raise RefusedDestinationError("a URL without a host")
        if self.hosts and not any(host == name or host.endswith(f".{name}") for name in self.hosts):
            raise RefusedDestinationError(f"{host} is not among the hosts allowed")
        if host in METADATA_NAMES:
            raise RefusedDestinationError(f"{host} is a metadata service")
        if not self.allow_private and (host in _LOCAL_NAMES or host.endswith(".localhost")):
            raise RefusedDestinationError(f"{host} is this machine")
        if (address := _literal(host)) is not None:
            self.check_address(address)

    def check_address(self, address: IpAddress) -> None:
        """Raises RefusedDestinationError when this address must not be dialled."""
        actual = meant(address)
        if actual in METADATA_ADDRESSES:
            raise RefusedDestinationError(f"{address} is a metadata service")
        if not self.allow_private and not is_public(actual):
            raise RefusedDestinationError(f"{address} is not a public address")


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
