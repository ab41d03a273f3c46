"""What policy looks at: one job, made comparable (spec-safety sections 2 and 4.1)."""

from collections.abc import Iterable, Mapping

import msgspec

_TRUE_WORDS = frozenset({"true", "1", "yes"})


class PolicyRequest(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One job as the matchers see it; make it with `policy_request`.

    Texts that are compared without regard to case are already folded; topic, labels and the effective configuration
    are as they came.
    """

    topic: str
    tenant: str
    capability: str
    risk_tags: frozenset[str]
    requires: frozenset[str]
    pack_id: str
    actor_id: str
    actor_type: str
    labels: Mapping[str, str]
    effective_config: bytes

    @property
    def secrets_present(self) -> bool:
        """The label decides when it is there and not empty, else the risk tag `secrets`."""
        said = self.labels.get("secrets_present", "")
        return said.strip().lower() in _TRUE_WORDS if said else "secrets" in self.risk_tags


NOTHING: frozenset[str] = frozenset()


def policy_request(
    topic: str,
    *,
    tenant: str = "",
    capability: str = "",
    risk_tags: Iterable[str] = (),
    requires: Iterable[str] = (),
    pack_id: str = "",
    actor_id: str = "",
    actor_type: str = "",
    labels: Mapping[str, str] | None = None,
    effective_config: bytes = b"",
) -> PolicyRequest:
    """Folds what is compared without case; an empty `tenant` becomes the policy's default tenant when evaluated."""
    return PolicyRequest(
        topic,
        fold(tenant),
        fold(capability),
        fold_all(risk_tags),
        fold_all(requires),
        fold(pack_id),
        fold(actor_id),
        fold(actor_type),
        labels or {},
        effective_config,
    )


def fold(text: str) -> str:
    """How texts are compared when case does not matter: trimmed, lower case."""
    return text.strip().lower()


def fold_all(texts: Iterable[str]) -> frozenset[str]:
    """Folded, without the empty ones."""
    folded = [text.strip().lower() for text in texts]
    return frozenset(filter(None, folded)) if folded else NOTHING
