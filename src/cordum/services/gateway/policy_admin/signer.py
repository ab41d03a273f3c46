"""Signs what is published, with the key of the settings (spec-safety sections 6 and 14.10)."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cordum.core.policy.bundles import Bundle, manifest_of, manifest_payload, signed_manifest_bytes, write_manifest
from cordum.core.signing import PrivateKey, from_seed_text, key_id_of, read_private_key, sign
from cordum.runtime.settings.policy_signing import PolicySigningSettings
from cordum.services.gateway.errors import ApiError


class PolicySigner:
    """One private key, or none."""

    def __init__(self, settings: PolicySigningSettings) -> None:
        """`open` reads the key."""
        self._settings = settings
        self._key: PrivateKey | None = None
        self._key_id = key_id_of(settings.policy_signing_key_id)

    async def open(self) -> None:
        """Reads the key, also again. Raises BadKeyError or OSError for one that cannot be used; the old one stays."""
        self._key = await asyncio.to_thread(_read, self._settings)

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def demand(self) -> None:
        """Raises ApiError 503 where nothing unsigned would be loaded and there is no key to sign with."""
        if self._key is None and self._settings.demands_signature:
            raise ApiError("POLICY_SIGNING_REQUIRED")

    def signed(self, bundle: Bundle) -> Bundle:
        """The bundle with a signature of its content; without one where there is no key."""
        if self._key is None:
            return msgspec.structs.replace(bundle, signature=None)
        signature = sign(bundle.content.encode(), self._key, self._key_id)
        return msgspec.structs.replace(bundle, signature=signature.as_dict())

    def manifest(self, bundles: Iterable[Bundle], revision: int, now: float) -> dict[str, object] | None:
        """The signed list of all bundles; None where there is no key.

        Args:
            revision: of the policy, see `next_revision`.
            now: Unix seconds.
        """
        if self._key is None:
            return None
        payload = manifest_payload(manifest_of(bundles, revision=revision, created_at=now))
        return write_manifest(payload, sign(signed_manifest_bytes(payload), self._key, self._key_id).as_dict())


def _read(settings: PolicySigningSettings) -> PrivateKey | None:
    if settings.policy_signing_key is not None:
        return read_private_key(settings.policy_signing_key.get_secret_value())
    if settings.policy_signing_key_path:
        return read_private_key(Path(settings.policy_signing_key_path).read_text(encoding="utf-8"))
    if settings.policy_dev_signing_seed is not None:
        return from_seed_text(settings.policy_dev_signing_seed.get_secret_value())
    return None
