"""Fetching a document over HTTP from where it may come from, bounded in time, size and redirects."""

import asyncio
import ipaddress
import socket
import ssl
from typing import Final

import httpx

from cordum.core.addresses import IpAddress
from cordum.core.errors import CordumError
from cordum.runtime import tls
from cordum.runtime.certificates import TlsError
from cordum.runtime.destinations import Destinations, RefusedDestinationError

MAX_REDIRECTS: Final = 5
_MOST_ADDRESSES: Final = 4
"""Of a name, tried one after the other."""


class FetchError(CordumError):
    """The document could not be fetched."""

    code = "fetch_failed"


class _CheckedTransport(httpx.AsyncHTTPTransport):
    """Resolves the host once, checks what it found, and connects to exactly that.

    The name stays in the Host header and in TLS, where the server's certificate is checked against it.
    """

    def __init__(self, destinations: Destinations, context: ssl.SSLContext | bool) -> None:
        super().__init__(verify=context, trust_env=False)
        self._destinations = destinations

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url
        addresses = await _resolve(name.host, name.port or (443 if name.scheme == "https" else 80))
        # One address that will not do condemns the name: which of them is dialled is not for its owner to say.
        for address in addresses:
            self._destinations.check_address(address)
        request.extensions = {**request.extensions, "sni_hostname": name.host}
        for address in addresses[:_MOST_ADDRESSES]:
            request.url = name.copy_with(host=str(address))
            try:
                return await super().handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refusal = error
        raise refusal


async def fetch(
    url: str,
    destinations: Destinations,
    *,
    timeout: float,
    max_bytes: int,
    ca: str = "",
    oldest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> bytes:
    """The body of a 2xx answer to GET.

    Args:
        url: where it is; up to five redirects are followed, each checked like the first, and never from https to http.
        timeout: seconds for everything together.
        max_bytes: the largest body taken.
        ca: file with the authorities to trust; "" for the system's.
        oldest_tls: the oldest TLS version spoken.

    Raises:
        RefusedDestinationError: it is, or leads, to where we may not connect.
        FetchError: nobody answers, not in time, not with 2xx, or with too much.
    """
    try:
        async with asyncio.timeout(timeout):
            context = await asyncio.to_thread(tls.client_context, ca, min_version=oldest_tls)
            transport = _CheckedTransport(destinations, context)
            async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=timeout) as client:
                return await _follow(client, httpx.URL(url), destinations, max_bytes)
    except TlsError as error:
        raise FetchError(error.message) from error
    except TimeoutError as error:
        raise FetchError(f"no answer within {timeout:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise FetchError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
    except (OSError, UnicodeError) as error:
        raise FetchError(str(error)) from error


async def _follow(client: httpx.AsyncClient, url: httpx.URL, destinations: Destinations, max_bytes: int) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        destinations.check_url(url)
        # What is counted must be what is kept, so nothing may come compressed, and nothing is unpacked.
        async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.has_redirect_location:
                target = url.join(answer.headers["location"])
                if url.scheme == "https" and target.scheme != "https":
                    raise RefusedDestinationError("a redirect from https to http")
                url = target
                continue
            if not answer.is_success:
                raise FetchError(f"HTTP {answer.status_code}")
            return await _body(answer, max_bytes)
    raise FetchError(f"more than {MAX_REDIRECTS} redirects")


async def _body(answer: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_raw(64 * 1024):
        body += piece
        if len(body) > max_bytes:
            raise FetchError(f"more than {max_bytes} bytes")
    return bytes(body)


async def _resolve(host: str, port: int) -> list[IpAddress]:
    """What a name means, at least one address. An address is itself."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(f"{host} cannot be resolved: {error.strerror or error}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0])) for entry in found]
    if not addresses:
        raise httpx.ConnectError(f"{host} has no address")
    return list(dict.fromkeys(addresses))
