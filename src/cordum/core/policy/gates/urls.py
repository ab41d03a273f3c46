"""URLs no agent has business with: metadata services, private networks, places to carry data off to."""

import ipaddress
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from cordum.core.addresses import METADATA_NAMES, IpAddress, is_public

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
_CARRY_OFF: Final = (
    "0x0.st",
    "beeceptor.com",
    "burpcollaborator.net",
    "dpaste.com",
    "dpaste.org",
    "file.io",
    "ghostbin.com",
    "hastebin.com",
    "hookbin.com",
    "interact.sh",
    "ngrok-free.app",
    "ngrok.io",
    "oast.fun",
    "oast.live",
    "oast.me",
    "oast.online",
    "oast.pro",
    "oast.site",
    "oastify.com",
    "paste.ee",
    "paste.rs",
    "pastebin.com",
    "pipedream.net",
    "privatebin.net",
    "requestbin.com",
    "requestbin.net",
    "requestcatcher.com",
    "termbin.com",
    "transfer.sh",
    "webhook.site",
)
_LOCAL_ENDINGS: Final = (".localhost", ".local", ".internal", ".localdomain", ".lan", ".intranet", ".home.arpa")


def fault(url: str) -> str:
    """Why a URL may not be asked, as far as its text tells; "" when nothing is wrong with it."""
    if any(ord(character) <= 32 or ord(character) == 127 for character in url) or "\\" in url:
        return "the URL holds a space, a control character or a backslash"
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "the URL cannot be read"
    if parts.scheme.lower() not in _SCHEMES:
        return f'the scheme "{parts.scheme}" is not for the web'
    if parts.username is not None or parts.password is not None:
        return "the URL carries credentials"
    host = _host(parts)
    if host in METADATA_NAMES:
        return "the URL is a metadata service"
    address = _address(host)
    if address is not None:
        return "the URL's host is a private address" if is_private(str(address)) else ""
    if host == "localhost" or host.endswith(_LOCAL_ENDINGS):
        return "the URL's host is a private name"
    if any(host == place or host.endswith("." + place) for place in _CARRY_OFF):
        return "the URL is a place to carry data off to"
    return ""


def host_name(url: str) -> str:
    """The URL's host when it is a name that has to be resolved; "" for an address or no URL at all."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return ""
    host = _host(parts)
    return "" if _address(host) is not None else host


def is_private(text: str) -> bool:
    """Whether an address is not one of the open internet; what is no address counts as private."""
    try:
        return not is_public(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return True


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError:
        return None
    return parts


def _host(parts: SplitResult) -> str:
    host = unquote(parts.hostname or "").rstrip(".").lower()
    try:
        return host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        return host


def _address(host: str) -> IpAddress | None:
    """An address however it is spelt: resolvers take `127.1`, `0x7f000001`, `2130706433` and `0177.0.0.1` too."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    parts = host.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers: list[int] = []
    for part in parts:
        number = _number(part)
        if number is None:
            return None
        numbers.append(number)
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        return None
    value = last
    for place, number in enumerate(leading):
        value += number << (8 * (3 - place))
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int | None:
    if not text or len(text) > 16 or not text.isascii():
        return None
    try:
        if text.startswith("0x"):
            return int(text[2:] or "0", 16)
        if text.startswith("0") and len(text) > 1 and text.isdigit():
            return int(text, 8)
        return int(text) if text.isdigit() else None
    except ValueError:
        return None
