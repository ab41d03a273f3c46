"""Whose signatures count: a set of public keys, each under an id (spec-safety section 6)."""

import re
from collections.abc import Mapping
from typing import Final

from cordum.core.signing.envelope import SignatureObject, unsigned
from cordum.core.signing.errors import BadKeyError, SignatureError, SignatureFault
from cordum.core.signing.keys import PublicKey, read_public_key
from cordum.core.signing.verify import bounded, verify

MAX_KEYS: Final = 64
KEY_VARIABLE_PREFIX: Final = "CORDUM_POLICY_PUBLIC_KEY_"
LEGACY_VARIABLE: Final = "SAFETY_POLICY_PUBLIC_KEY"

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")


def key_id_of(text: str) -> str:
    """A key id as it is compared: without regard to case, and to `-` or `.` where a variable's name must write `_`."""
    return re.sub(r"[-.]", "_", text.strip().lower())


class TrustStore:
    """The keys that are trusted. A key without an id is tried on every signature."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        """`keys` by id; "" for a key that has none."""
        self._keys = {key_id_of(key_id): key for key_id, key in keys.items()}

    @classmethod
    def read(cls, texts: Mapping[str, str], *, unnamed: str = "", unnamed_id: str = "") -> "TrustStore":
        """From the texts of keys, as variables carry them.

        Args:
            texts: by key id, as in `CORDUM_POLICY_PUBLIC_KEY_<ID>`.
            unnamed: the text of SAFETY_POLICY_PUBLIC_KEY, or "".
            unnamed_id: its id (SAFETY_POLICY_PUBLIC_KEY_ID), or "".

        Raises:
            SignatureError: (no_trust_store) a key cannot be used, has no proper id, two have the same, or there are
                more than 64; the message names the variable.
        """
        if len(texts) >= MAX_KEYS:
            raise SignatureError(SignatureFault.NO_TRUST_STORE, f"more than {MAX_KEYS} policy keys")
        keys: dict[str, PublicKey] = {}
        for key_id, text in texts.items():
            variable = KEY_VARIABLE_PREFIX + key_id
            if not _ID.fullmatch(key_id_of(key_id)):
                raise SignatureError(SignatureFault.NO_TRUST_STORE, f"{variable}: not a key id")
            if key_id_of(key_id) in keys:
                raise SignatureError(SignatureFault.NO_TRUST_STORE, f"{variable}: this key id is given twice")
            keys[key_id_of(key_id)] = _read(variable, text)
        if unnamed.strip():
            key = _read(LEGACY_VARIABLE, unnamed)
            if key_id_of(unnamed_id) in keys:
                raise SignatureError(
                    SignatureFault.NO_TRUST_STORE, f"{LEGACY_VARIABLE}_ID={unnamed_id}: this key id is given twice"
                )
            keys[key_id_of(unnamed_id)] = key
        return cls(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids, sorted; "" stands for the key without one."""
        return tuple(sorted(self._keys))

    def verify(self, data: bytes, signature: object) -> str:
        """Checks that one of the keys signed these bytes, and answers its id.

        A signature that names its key is checked with that key, and with the key that has no id. The id only chooses:
        nothing but a true signature by a trusted key passes.

        Raises SignatureError: unsigned, malformed, no_trust_store, untrusted_key or invalid_signature.
        """
        found = bounded(signature)
        if not self._keys:
            raise SignatureError(SignatureFault.NO_TRUST_STORE, "there is no key to check the policy's signature with")
        candidates = self._candidates(found)
        refusal: SignatureError = unsigned()
        for key_id, key in candidates.items():
            try:
                verify(key, data, found)
            except SignatureError as error:
                refusal = error
            else:
                return key_id
        raise refusal

    def _candidates(self, found: SignatureObject | bytes) -> dict[str, PublicKey]:
        named = key_id_of(found.key_id) if isinstance(found, SignatureObject) else ""
        if not named:
            return self._keys
        candidates = {key_id: key for key_id, key in self._keys.items() if key_id in (named, "")}
        if not candidates:
            raise SignatureError(
                SignatureFault.UNTRUSTED_KEY, f'the policy is signed with the key "{named[:80]}", which is not trusted'
            )
        return candidates


def _read(variable: str, text: str) -> PublicKey:
    try:
        return read_public_key(text)
    except BadKeyError as error:
        raise SignatureError(SignatureFault.NO_TRUST_STORE, f"{variable} cannot be used: {error.why}") from error
