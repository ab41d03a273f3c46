"""What the text of an environment variable can mean, each with a message that tells what is allowed."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from pydantic import BeforeValidator, SecretStr

TRUE_WORDS: Final = frozenset({"1", "true", "yes", "y", "on"})
FALSE_WORDS: Final = frozenset({"0", "false", "no", "n", "off"})

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_PLAIN_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")


class Address(msgspec.Struct, frozen=True):
    """Where to listen or to connect to. An empty host means every interface; port 0 any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads `host:port`, `:port` or `[ipv6]:port`.

        Raises:
            ValueError: it is none of these.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65_535:
            raise ValueError('not an address; write "host:port" or ":port", port 0 to 65535')
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ValueError("not an address; there is no IPv6 address between the brackets") from None
        elif host and not _HOST.fullmatch(host):
            raise ValueError('not an address; write "host:port", ":port" or "[ipv6]:port"')
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_seconds(text: str) -> float:
    """Reads "30s", "1h30m", "500ms", "7d" or a plain number of seconds.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    if _PLAIN_NUMBER.fullmatch(text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text or len(text) > 40:
        raise ValueError('not a duration; write for example "500ms", "30s", "5m", "168h" or a number of seconds')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_flag(text: str) -> bool:
    """Reads 1, true, yes, y, on and their opposites, in any case.

    Raises:
        ValueError: it is none of these.
    """
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("not one of 1, true, yes, on, 0, false, no, off")


E = TypeVar("E", bound=StrEnum)


def parse_word(words: type[E], text: str) -> E:
    """Reads one of the enumeration's words, in any case.

    Raises:
        ValueError: it is none of them; the message lists them.
    """
    try:
        return words(text.strip().lower())
    except ValueError:
        raise ValueError(f"not one of {', '.join(words)}") from None


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Reads addresses separated by commas or spaces. Raises ValueError."""
    return tuple(Address.parse(part) for part in re.split(r"[,\s]+", text) if part)


def _whole_number(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        raise ValueError("not a whole number")
    return value


def _seconds(value: object) -> object:
    return parse_seconds(value) if isinstance(value, str) else value


def _flag(value: object) -> object:
    return parse_flag(value) if isinstance(value, str) else value


def _address(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


def _addresses(value: object) -> object:
    return parse_addresses(value) if isinstance(value, str) else value


# The types settings are declared with.
Count = Annotated[int, BeforeValidator(_whole_number)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Flag = Annotated[bool, BeforeValidator(_flag)]
ListenAddress = Annotated[Address, BeforeValidator(_address)]
DialAddress = Annotated[Address, BeforeValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_addresses)]
FilePath = Annotated[str, "file"]
Secret = SecretStr
