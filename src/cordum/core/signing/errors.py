"""What can be wrong with a key or a signature."""

from enum import StrEnum
from typing import ClassVar

from cordum.core.errors import CordumError


class SignatureFault(StrEnum):
    """Why something signed was not trusted; the word of the log line (spec-safety section 6)."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    NO_TRUST_STORE = "no_trust_store"
    UNTRUSTED_KEY = "untrusted_key"
    INVALID = "invalid_signature"


class SignatureError(CordumError):
    """The policy's signature does not hold."""

    code: ClassVar[str] = "policy_signature_rejected"

    def __init__(self, fault: SignatureFault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class BadKeyError(SignatureError):
    """The text is not a key that can be used."""

    def __init__(self, why: str) -> None:
        """`why` completes "the key cannot be used: ..."; it never repeats the key."""
        self.why = why
        super().__init__(SignatureFault.NO_TRUST_STORE, f"the key cannot be used: {why}")
