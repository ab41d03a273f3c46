"""Which policies are believed: signatures of the base, of the bundles and of the manifest (spec-safety section 6)."""

from collections.abc import Sequence

from cordum.core.policy.bundles import (
    Bundle,
    BundleError,
    SignedManifest,
    check_manifest,
    read_manifest,
)
from cordum.core.signing import SignatureError, SignatureFault, Strictness, TrustStore
from cordum.runtime import logging
from cordum.runtime.settings import SafetyKernelSettings
from cordum.services.safety_kernel.errors import BASE, LoadError

AUDIT_EVENT = "policy_signature_rejected"
MANIFEST = "manifest"

_TOLERATED = frozenset(
    {SignatureFault.UNSIGNED, SignatureFault.NO_TRUST_STORE, SignatureFault.UNTRUSTED_KEY},
)
"""What `warn` only warns of. A signature that is there and wrong is a sign of tampering and never passes."""

_log = logging.get_logger(__name__)


class Trust:
    """Checks what was found before any of it is read."""

    def __init__(self, settings: SafetyKernelSettings) -> None:
        """Raises SignatureError when a key cannot be used, or a signature is demanded and there is no key."""
        self._store = TrustStore.read(
            settings.policy_public_keys,
            unnamed=settings.policy_public_key,
            unnamed_id=settings.policy_public_key_id,
        )
        self._strictness = settings.strictness
        if settings.demands_signature and not len(self._store):
            raise SignatureError(
                SignatureFault.NO_TRUST_STORE,
                "policy signature required but SAFETY_POLICY_PUBLIC_KEY not configured",
            )
        # Who sets SAFETY_POLICY_PUBLIC_KEY wants the file signed, whatever else is said (guide, "Policy signatures").
        self._base_strictness = Strictness.ENFORCE if settings.policy_public_key.strip() else self._strictness
        self._least_revision = settings.policy_min_revision

    def check_base(self, data: bytes, signature: bytes, name: str, place: str) -> None:
        """Raises LoadError when the base must not be used. `name` and `place` say where it and its signature are."""
        if self._base_strictness is Strictness.OFF:
            return
        self._check(data, signature or None, self._base_strictness, BASE, f"{name}: {{}} (signature from {place})")

    def check_bundles(self, bundles: Sequence[Bundle], manifest: SignedManifest | None, now: float) -> int:
        """Raises LoadError when one of the bundles, or all together, must not be used; `now` in Unix seconds.

        Answers the manifest's revision, 0 without one; tell it to `accepted` once the policy is in force.
        """
        revision = 0
        if manifest is not None:
            revision = self._check_manifest(manifest, bundles, now)
        elif self._least_revision:
            self._refuse(SignatureFault.UNSIGNED, "the manifest of the bundles is gone", MANIFEST)
        elif bundles and self._strictness is Strictness.ENFORCE:
            self._refuse(SignatureFault.UNSIGNED, "the bundles have no signed manifest", MANIFEST)
        if self._strictness is not Strictness.OFF:
            for bundle in bundles:
                if bundle.enabled:
                    self._check(bundle.content.encode(), bundle.signature, self._strictness, bundle.id, "bundle {}")
        return revision

    def accepted(self, revision: int) -> None:
        """From now on no manifest with a lower revision is."""
        self._least_revision = max(self._least_revision, revision)

    def _check_manifest(self, manifest: SignedManifest, bundles: Sequence[Bundle], now: float) -> int:
        if self._strictness is Strictness.OFF:
            return 0
        signed = self._check(
            manifest.signed_bytes(), manifest.signature, self._strictness, MANIFEST, "manifest of the bundles: {}"
        )
        if not signed:
            return 0
        try:
            found = read_manifest(manifest.payload)
            check_manifest(found, bundles, now=now, least_revision=self._least_revision)
        except BundleError as error:
            self._refuse(SignatureFault.INVALID, error.message, error.bundle_id or MANIFEST, cause=error)
        return found.revision

    def _check(self, data: bytes, signature: object, strictness: Strictness, what: str, said: str) -> bool:
        """Whether it is signed; False for what is not and may be used all the same."""
        try:
            self._store.verify(data, signature)
        except SignatureError as error:
            message = said.format(f"{what}: {error.message}" if said == "bundle {}" else error.message)
            if strictness is Strictness.WARN and error.fault in _TOLERATED:
                if len(self._store):
                    _rejected(what, error.fault, message, "used all the same: CORDUM_POLICY_STRICT is warn")
                return False
            self._refuse(error.fault, message, what, cause=error)
        return True

    def _refuse(self, fault: SignatureFault, message: str, what: str, cause: Exception | None = None) -> None:
        _rejected(what, fault, message, "refused")
        raise LoadError(f"error in policy {message}", reason=fault.value, bundle=what) from cause


def _rejected(what: str, fault: SignatureFault, message: str, consequence: str) -> None:
    _log.warning(
        f"a policy's signature is not accepted: {consequence}",
        event="policy_signature_rejected",
        audit_event=AUDIT_EVENT,
        reason=fault.value,
        bundle=what,
        error=message,
    )
