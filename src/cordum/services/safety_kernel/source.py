"""Where the policy comes from: a file or a URL, and the bundles in Redis (spec-safety section 5)."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import msgspec

from cordum.core.policy.bundles import BUNDLES_KEY, MANIFEST_KEY
from cordum.core.signing import MAX_SIGNATURE_BYTES
from cordum.runtime.destinations import Destinations, RefusedDestinationError
from cordum.runtime.fetch import FetchError, fetch
from cordum.runtime.redact import mask_urls
from cordum.runtime.settings import SafetyKernelSettings
from cordum.services.safety_kernel.errors import LoadError, SourceUnavailableError
from cordum.store.errors import BadDocumentError, StoreError
from cordum.store.policies import POLICY_ID, SCOPE
from cordum.store.store import Store

URL_TIMEOUT: Final = 10.0  # seconds


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored at one moment, looked at by nobody yet.

    Attributes:
        base: the bytes of the file or URL; None when there is no file.
        signature: of the base; empty: none.
        bundles: `bundles` and `manifest` as stored; None where no bundles are kept.
    """

    base: bytes | None = None
    signature: bytes = b""
    bundles: Mapping[str, object] | None = None

    @property
    def fingerprint(self) -> str:
        """Changes whenever any of it does."""
        parts = hashlib.sha256(b"absent" if self.base is None else b"present" + hashlib.sha256(self.base).digest())
        parts.update(hashlib.sha256(self.signature).digest())
        parts.update(msgspec.json.encode(self.bundles, order="deterministic"))
        return parts.hexdigest()


class PolicySource:
    """Reads what the settings point to."""

    def __init__(self, settings: SafetyKernelSettings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._destinations = Destinations(
            hosts=settings.policy_url_allowlist,
            schemes=("https",) if settings.production else ("https", "http"),
            allow_private=settings.policy_url_allow_private,
        )

    def use(self, store: Store | None) -> None:
        """Where the bundles are; without a store there are none."""
        self._store = None if self._settings.policy_config_disable else store

    @property
    def name(self) -> str:
        """The base's place, as shown to people."""
        return mask_urls(self._settings.policy_url) or self._settings.policy_path

    @property
    def keeps_bundles(self) -> bool:
        """Whether bundles are part of the policy."""
        return self._store is not None

    def check_url(self) -> None:
        """Raises LoadError when the URL is none that may be fetched, whatever answers there."""
        if self._settings.policy_url:
            try:
                self._destinations.check_url(httpx.URL(self._settings.policy_url))
            except (RefusedDestinationError, httpx.InvalidURL) as error:
                raise LoadError(f"SAFETY_POLICY_URL={self.name}: {error}", reason="refused_url") from error

    async def read(self) -> Found:
        """Reads everything. Raises LoadError when something is there and cannot be read."""
        base, signature = await self._base()
        return Found(base=base, signature=signature, bundles=await self.read_bundles())

    async def read_bundles(self) -> Mapping[str, object] | None:
        """The bundles and their manifest as stored; None where none are kept, or none ever were."""
        if self._store is None:
            return None
        scope, scope_id = self._settings.policy_config_scope, self._settings.policy_config_id
        try:
            document = await self._store.configs.get(scope, scope_id)
            if document is not None:
                key = self._settings.policy_config_key
                return {BUNDLES_KEY: document.data.get(key), MANIFEST_KEY: document.data.get(MANIFEST_KEY)}
            if (scope, scope_id) != (SCOPE, POLICY_ID):
                return None
            # A document that is gone comes back from its copy.
            state = await self._store.policies.in_force()
        except BadDocumentError as error:
            raise LoadError(f"error in policy bundles: {error.message}", reason="invalid", bundle="") from error
        except StoreError as error:
            raise SourceUnavailableError(
                f"the policy bundles cannot be read: {error.message}", reason="unavailable", bundle=""
            ) from error
        return {BUNDLES_KEY: state.bundles, MANIFEST_KEY: state.manifest} if state.revision else None

    async def _base(self) -> tuple[bytes | None, bytes]:
        settings = self._settings
        if not settings.policy_url:
            return await asyncio.to_thread(self._files)
        try:
            data = await fetch(
                settings.policy_url,
                self._destinations,
                timeout=URL_TIMEOUT,
                max_bytes=settings.policy_max_bytes,
                ca=settings.policy_url_ca,
                oldest_tls=settings.tls_minimum,
            )
        except RefusedDestinationError as error:
            raise LoadError(f"error in policy: {self.name}: {error.message}", reason="refused_url") from error
        except FetchError as error:
            raise SourceUnavailableError(
                f"the policy at {self.name} cannot be fetched: {error.message}", reason="unreachable"
            ) from error
        return data, await asyncio.to_thread(self._signature, "")

    def _files(self) -> tuple[bytes | None, bytes]:
        path = self._settings.policy_path
        data = _read(path, self._settings.policy_max_bytes) if path else None
        return (None, b"") if data is None else (data, self._signature(f"{path}.sig"))

    def _signature(self, beside: str) -> bytes:
        """The base's signature from where it may be; empty when there is none. A URL has none beside it."""
        if self._settings.policy_signature:
            return self._settings.policy_signature.encode()
        path = self._settings.policy_signature_path or beside
        return (_read(path, MAX_SIGNATURE_BYTES) or b"") if path else b""

    @property
    def signature_place(self) -> str:
        """Where the base's signature is looked for, for messages."""
        if self._settings.policy_signature:
            return "SAFETY_POLICY_SIGNATURE"
        return self._settings.policy_signature_path or f"{self._settings.policy_path}.sig"


def _read(path: str, at_most: int) -> bytes | None:
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
