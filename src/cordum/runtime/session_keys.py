"""The keys of sessions and handshakes, read from settings and files (spec-scheduler 11.4)."""

from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import SecretStr

from cordum.core.errors import CordumError
from cordum.core.sessions import SessionKeys, Signer
from cordum.core.signing import BadKeyError, key_id_of, read_private_key, read_public_key
from cordum.core.signing.keys import PrivateKey
from cordum.core.signing.trust import KEY_VARIABLE_PREFIX, MAX_KEYS
from cordum.runtime.settings.policy_signing import SigningKeySettings
from cordum.runtime.settings.sessions import HandshakeSettings

SIGNING_KEY: Final = "CORDUM_POLICY_SIGNING_KEY"
TRUST_KEY: Final = "CORDUM_SCHEDULER_TRUST_KEY"
MAX_KEY_ID: Final = 256


class SessionKeyError(CordumError):
    """A key cannot be used."""

    code = "bad_session_key"


class TrustKey(msgspec.Struct, frozen=True):
    """The key workers know the scheduler by: it signs handshakes and dispatches."""

    key_id: str
    key: ec.EllipticCurvePrivateKey


class HandshakeKeys(msgspec.Struct, frozen=True):
    """All a scheduler needs for sessions."""

    signer: Signer
    trusted: SessionKeys
    trust: TrustKey


def read_handshake_keys(settings: HandshakeSettings) -> HandshakeKeys | None:
    """Everything together; None where one of the two private keys is not set.

    Raises:
        SessionKeyError: one cannot be used; the message begins with its variable.
    """
    signer, trust = read_signer(settings), read_trust_key(settings)
    if signer is None or trust is None:
        return None
    return HandshakeKeys(signer, read_trusted(settings), trust)


def read_signer(settings: SigningKeySettings) -> Signer | None:
    """The key that signs tokens; None where there is none, or one that signs policies only (P-256).

    Raises:
        SessionKeyError: it cannot be read.
    """
    key = _private(SIGNING_KEY, settings.policy_signing_key, settings.policy_signing_key_path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return Signer(key, settings.policy_signing_key_id)


def read_trusted(settings: HandshakeSettings) -> SessionKeys:
    """The keys whose tokens count: our own, and the Ed25519 ones among the public keys.

    Raises:
        SessionKeyError: one cannot be read, or ours has the id of another.
    """
    if len(settings.policy_public_keys) > MAX_KEYS:
        raise SessionKeyError(f"{KEY_VARIABLE_PREFIX}<ID>: more than {MAX_KEYS} keys")
    signer = read_signer(settings)
    named: dict[str, ed25519.Ed25519PublicKey] = {}
    for key_id, text in settings.policy_public_keys.items():
        try:
            key = read_public_key(text)
        except BadKeyError as error:
            raise SessionKeyError(f"{KEY_VARIABLE_PREFIX}{key_id}: {error.message}") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            continue
        if key_id_of(key_id) in named:
            raise SessionKeyError(f"{KEY_VARIABLE_PREFIX}{key_id}: this key id is given twice")
        if signer is not None and key_id_of(key_id) == signer.kid and key != signer.public_key:
            raise SessionKeyError(
                f"{KEY_VARIABLE_PREFIX}{key_id}: not the public half of {SIGNING_KEY}, whose id it has"
            )
        named[key_id_of(key_id)] = key
    return SessionKeys.of(named, signer)


def read_trust_key(settings: HandshakeSettings) -> TrustKey | None:
    """The key that workers know the scheduler by; None where none is set.

    Raises:
        SessionKeyError: it is no P-256 key, or has no proper id.
    """
    key = _private(TRUST_KEY, settings.scheduler_trust_key, settings.scheduler_trust_key_path)
    if key is None:
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SessionKeyError(f"{TRUST_KEY}: not an ECDSA P-256 key")
    key_id = settings.scheduler_trust_key_id.strip()
    if not 0 < len(key_id) <= MAX_KEY_ID or not all("!" <= char <= "~" for char in key_id):
        raise SessionKeyError(f"{TRUST_KEY}_ID: give 1 to {MAX_KEY_ID} printable characters without spaces")
    return TrustKey(key_id, key)


def _private(variable: str, given: SecretStr | None, path: str) -> PrivateKey | None:
    if given is not None:
        return _read(variable, given.get_secret_value())
    if not path:
        return None
    try:
        return _read(f"{variable}_PATH", Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SessionKeyError(f"{variable}_PATH={path}: cannot be read") from error


def _read(variable: str, text: str) -> PrivateKey:
    try:
        return read_private_key(text)
    except BadKeyError as error:
        raise SessionKeyError(f"{variable}: {error.message}") from error
