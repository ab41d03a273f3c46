"""Settings of whoever checks the signatures of policies, and of whoever signs them (spec-safety section 6)."""

from typing import Annotated

from pydantic import BeforeValidator

from cordum.core.signing.strictness import Strictness, parse_strictness
from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import FilePath, Flag, Secret


def _strictness(value: object) -> object:
    return parse_strictness(value) if isinstance(value, str) and not isinstance(value, Strictness) else value


class PolicyTrustSettings(CommonSettings):
    """Whether policies must be signed."""

    policy_strict: Annotated[Strictness, BeforeValidator(_strictness)] = variable(
        "CORDUM_POLICY_STRICT",
        default=Strictness.WARN,
        shown="warn; in production enforce",
        text="Whether policies must be signed: off, warn (what is signed must hold) or enforce (all must be signed)",
    )
    policy_signature_required: Flag = variable(
        "SAFETY_POLICY_SIGNATURE_REQUIRED",
        default=False,
        shown="false; in production always",
        text="Refuse an unsigned policy",
    )

    @property
    def demands_signature(self) -> bool:
        """Whether only signed policies are stored and loaded."""
        return self.production or self.policy_signature_required or self.policy_strict is Strictness.ENFORCE

    @property
    def strictness(self) -> Strictness:
        """How strictly signatures are meant, all settings together."""
        return Strictness.ENFORCE if self.demands_signature else self.policy_strict


class SigningKeySettings(CommonSettings):
    """The private key of the control plane."""

    policy_signing_key: Secret | None = variable(
        "CORDUM_POLICY_SIGNING_KEY",
        default=None,
        text="Private key that signs published policy bundles (ECDSA P-256 or Ed25519) and workers' sessions (Ed25519 "
        "only): PEM, base64 or hex",
    )
    policy_signing_key_path: FilePath = variable(
        "CORDUM_POLICY_SIGNING_KEY_PATH", default="", text="File with CORDUM_POLICY_SIGNING_KEY"
    )
    policy_signing_key_id: str = variable(
        "CORDUM_POLICY_SIGNING_KEY_ID",
        default="",
        text="Its id, under which others know the public key (CORDUM_POLICY_PUBLIC_KEY_<ID>)",
    )


class PublicKeySettings(CommonSettings):
    """The public keys of the control plane."""

    policy_public_keys: dict[str, str] = variable(
        "CORDUM_POLICY_PUBLIC_KEY_<ID>",
        default={},
        shown="none",
        text="Further keys a policy, a bundle or a session may be signed with, each under its id",
    )


class PolicySigningSettings(PolicyTrustSettings, SigningKeySettings):
    """How the gateway signs what it puts in force."""

    policy_dev_signing_seed: Secret | None = variable(
        "CORDUM_POLICY_DEV_SIGNING_SEED",
        default=None,
        text="Text an Ed25519 signing key is made of, for development; refused in production",
    )
