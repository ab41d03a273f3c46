"""The written forms of a signature: a JSON object that says how and by whom, or the bare bytes, base64 or hex."""

import msgspec

from cordum.core.signing.errors import SignatureError, SignatureFault


class SignatureObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signature with what is needed to check it; a bundle's `_signature` and the JSON form of a `.sig` file.

    Attributes:
        algorithm: `ed25519`, or `ecdsa-p256-sha256` (also `ecdsa`, `ecdsa-p256`, `es256`).
        value: the signature, base64 (hex is read too); for ECDSA its ASN.1 form.
        key_id: which key signed; "" when nobody said.
        hash: SHA-256 of what was signed, hex; "" when nobody said.
        signed_bytes: how many bytes were signed; None when nobody said.
    """

    algorithm: str
    value: str
    key_id: str = ""
    hash: str = ""
    signed_bytes: int | None = None

    def as_dict(self) -> dict[str, object]:
        """As it stands in a configuration document."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        return fields


def encode(signature: SignatureObject) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(signature)


def read_signature(found: object) -> SignatureObject | bytes:
    """A signature as it was found: text, bytes, or an object already read from JSON.

    Answers a SignatureObject for the JSON form, else the bytes as they are.

    Raises:
        SignatureError: there is none (unsigned), or the object is not a signature (malformed).
    """
    if isinstance(found, SignatureObject):
        return found
    if found is None or found == "" or found == {}:
        raise unsigned()
    if isinstance(found, str):
        found = found.encode("utf-8", "surrogatepass")
    if isinstance(found, bytes):
        if not found.strip():
            raise unsigned()
        if not found.lstrip().startswith(b"{"):
            return found
        try:
            return msgspec.json.decode(found, type=SignatureObject)
        except msgspec.MsgspecError as error:
            # A raw signature may begin with the byte of a brace.
            if len(found) in _RAW_SIZES:
                return found
            raise _malformed(str(error)) from error
    try:
        return msgspec.convert(found, SignatureObject)
    except msgspec.MsgspecError as error:
        raise _malformed(str(error)) from error


_RAW_SIZES = range(64, 73)
"""Ed25519 has 64 bytes; ECDSA P-256 in ASN.1 up to 72, and then never begins with a brace."""


def unsigned() -> SignatureError:
    return SignatureError(SignatureFault.UNSIGNED, "the policy is not signed")


def _malformed(why: str) -> SignatureError:
    return SignatureError(SignatureFault.MALFORMED, f"the policy's signature object: {why}")
