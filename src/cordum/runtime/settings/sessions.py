"""Settings of whoever gives workers their sessions, and of whoever needs a token besides them (spec-scheduler 11.4)."""

from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.policy_signing import PublicKeySettings, SigningKeySettings
from cordum.runtime.settings.protections import Rigour, Strictness
from cordum.runtime.settings.values import FilePath, Seconds, Secret


class SessionSettings(SigningKeySettings):
    """Whether there are sessions."""

    sdk_handshake: Strictness = variable(
        "CORDUM_SDK_HANDSHAKE",
        default=Rigour.OFF,
        text="Whether workers need a session from the trust handshake: warn answers handshakes and only says who has "
        "none, enforce drops what comes without one; set alike at schedulers and gateways",
    )


class HandshakeSettings(SessionSettings, PublicKeySettings):
    """How the scheduler answers handshakes."""

    scheduler_trust_key: Secret | None = variable(
        "CORDUM_SCHEDULER_TRUST_KEY",
        default=None,
        text="Private key by which workers know the scheduler, ECDSA P-256: PEM, base64 or hex; with "
        "CORDUM_SDK_HANDSHAKE it signs handshakes and dispatches",
    )
    scheduler_trust_key_path: FilePath = variable(
        "CORDUM_SCHEDULER_TRUST_KEY_PATH", default="", text="File with CORDUM_SCHEDULER_TRUST_KEY"
    )
    scheduler_trust_key_id: str = variable(
        "CORDUM_SCHEDULER_TRUST_KEY_ID",
        default="cordum-scheduler",
        text="Its id, under which workers have the public key",
    )
    worker_session_ttl: Seconds = variable(
        "CORDUM_WORKER_SESSION_TTL", default=3600.0, least=2, most=86_400, text="How long a worker's session lasts"
    )

    @property
    def has_session_keys(self) -> bool:
        """Whether keys are set at all; `cordum.runtime.session_keys` says whether they can be used."""
        signing = self.policy_signing_key is not None or bool(self.policy_signing_key_path)
        return signing and (self.scheduler_trust_key is not None or bool(self.scheduler_trust_key_path))
