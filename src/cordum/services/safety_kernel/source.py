"""From the policy file and its signature to a compiled policy with its snapshot id (spec-safety sections 5 and 6)."""

import hashlib
from pathlib import Path
from typing import ClassVar

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import SnapshotId
from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.parse import parse_policy
from cordum.runtime.settings import SafetyKernelSettings
from cordum.services.safety_kernel import signature
from cordum.services.safety_kernel.signature import PublicKey, SignatureError, SignatureFault


class LoadError(CordumError):
    """The policy cannot be loaded. `reason` is the metric's word; `line` and `column` count from 1, 0 when unknown."""

    code: ClassVar[str] = "policy_load_failed"

    def __init__(self, message: str, *, reason: str, line: int = 0, column: int = 0) -> None:
        self.reason = reason
        self.line = line
        self.column = column
        super().__init__(message)


class PolicyFiles(msgspec.Struct, frozen=True):
    """What was found on disk: the file's bytes (None when there is no file) and the signature's (empty: none)."""

    data: bytes | None
    signature: bytes

    @property
    def fingerprint(self) -> str:
        """Changes whenever either of the two does."""
        parts = hashlib.sha256(b"absent" if self.data is None else b"present" + self.data)
        parts.update(b"\0")
        parts.update(self.signature)
        return parts.hexdigest()


class LoadedPolicy(msgspec.Struct, frozen=True, eq=False):
    """A policy that may be used."""

    compiled: CompiledPolicy
    snapshot: SnapshotId


class PolicySource:
    """The policy file of the settings, and the rule by which it is trusted."""

    def __init__(self, settings: SafetyKernelSettings) -> None:
        """Raises SignatureError when a signature is demanded and there is no usable key to check it with."""
        self.path = settings.policy_path
        self._max_bytes = settings.policy_max_bytes
        self._inline_signature = settings.policy_signature
        self._signature_path = settings.policy_signature_path or f"{settings.policy_path}.sig"
        self._key: PublicKey | None = None
        if settings.policy_public_key.strip():
            self._key = signature.read_public_key(settings.policy_public_key)
        elif settings.demands_signature:
            raise SignatureError(
                SignatureFault.NO_TRUST_STORE,
                "policy signature required but SAFETY_POLICY_PUBLIC_KEY not configured",
            )

    def read(self) -> PolicyFiles:
        """Reads the file and its signature. Raises LoadError when one is there and cannot be read."""
        if not self.path:
            return PolicyFiles(None, b"")
        data = self._read(self.path, self._max_bytes)
        if self._key is None:
            return PolicyFiles(data, b"")
        if self._inline_signature:
            return PolicyFiles(data, self._inline_signature.encode())
        found = self._read(self._signature_path, signature.MAX_SIGNATURE_BYTES)
        return PolicyFiles(data, found or b"")

    def load(self, files: PolicyFiles) -> LoadedPolicy | None:
        """The policy in the files, None when there is no file. Raises LoadError when it must not be used.

        The signature is checked before anything of the content is looked at.
        """
        if files.data is None:
            return None
        self._trust(files.data, files.signature)
        try:
            document = parse_policy(files.data, self._max_bytes)
        except PolicyError as error:
            first = error.faults[0]
            detail = "; ".join(str(fault) for fault in error.faults[:5])
            more = f"; and {len(error.faults) - 5} more" if len(error.faults) > 5 else ""
            raise LoadError(
                f"error in policy {self.path}: {detail}{more}", reason="invalid", line=first.line, column=first.column
            ) from error
        digest = hashlib.sha256(files.data).hexdigest()
        snapshot = SnapshotId(f"{document.version}:{digest}" if document.version else digest)
        return LoadedPolicy(compile_policy(document), snapshot)

    def _trust(self, data: bytes, found: bytes) -> None:
        if self._key is None:
            return
        try:
            signature.verify(self._key, data, found)
        except SignatureError as error:
            where = "SAFETY_POLICY_SIGNATURE" if self._inline_signature else self._signature_path
            raise LoadError(
                f"error in policy {self.path}: {error.message} (signature from {where})", reason=error.fault.value
            ) from error

    def _read(self, path: str, at_most: int) -> bytes | None:
        try:
            with Path(path).open("rb") as file:
                data = file.read(at_most + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LoadError(f"error in policy: {path} cannot be read: {error.strerror}", reason="unreadable") from error
        if len(data) > at_most:
            raise LoadError(f"error in policy: {path} has more than {at_most} bytes", reason="too_large")
        return data
