"""The keys of session tokens: one to sign with, any number to trust, all Ed25519."""

from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cordum.core.signing import fingerprint, key_id_of


def kid_of(key: Ed25519PublicKey, key_id: str) -> str:
    """The name a key goes by in tokens: its id as ids are compared, or its fingerprint where it has none."""
    return key_id_of(key_id) or fingerprint(key)


class Signer:
    """Signs tokens."""

    def __init__(self, key: Ed25519PrivateKey, key_id: str = "") -> None:
        self._key = key
        self.kid = kid_of(key.public_key(), key_id)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()


class SessionKeys(msgspec.Struct, frozen=True):
    """Whose tokens count, by `kid`."""

    trusted: Mapping[str, Ed25519PublicKey]

    @classmethod
    def of(cls, named: Mapping[str, Ed25519PublicKey], signer: Signer | None = None) -> "SessionKeys":
        """The keys given by id, each also under its fingerprint, and our own."""
        trusted = {fingerprint(key): key for key in named.values()}
        trusted |= {kid_of(key, key_id): key for key_id, key in named.items()}
        if signer is not None:
            trusted[fingerprint(signer.public_key)] = trusted[signer.kid] = signer.public_key
        return cls(trusted)

    def find(self, kid: str) -> Ed25519PublicKey | None:
        return self.trusted.get(kid)
