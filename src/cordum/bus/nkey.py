"""NKeys: the Ed25519 keys with which NATS lets users in without a password."""

import base64
import binascii
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cordum.bus.errors import BusSettingsError

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_RAW_LENGTH: Final = 36  # two bytes of kind, 32 of seed, two of checksum


class UserKey:
    """A user's key pair, made from its seed (`SU...`)."""

    def __init__(self, seed: str) -> None:
        """Raises BusSettingsError when this is no user seed; the message does not repeat it."""
        try:
            raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        except ValueError:
            raw = b""
        if len(raw) != _RAW_LENGTH or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
            raise BusSettingsError("NATS_NKEY is no NKey seed")
        kind = (raw[0] & 7) << 5 | (raw[1] & 0xF8) >> 3
        if raw[0] & 0xF8 != _SEED or kind != _USER:
            raise BusSettingsError("NATS_NKEY is not the seed of a user (it begins with SU)")
        self._key = Ed25519PrivateKey.from_private_bytes(raw[2:-2])

    @property
    def public(self) -> str:
        """The public key as the server's configuration names it (`U...`)."""
        body = bytes((_USER,)) + self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        checked = body + binascii.crc_hqx(body, 0).to_bytes(2, "little")
        return base64.b32encode(checked).decode().rstrip("=")

    def sign(self, nonce: str) -> bytes:
        """The signature of the server's nonce, in base64."""
        return base64.b64encode(self._key.sign(nonce.encode()))
