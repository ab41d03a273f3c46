"""What policy looks at: one job, made comparable (spec-safety sections 2 and 4.1)."""

from collections.abc import Iterable, Mapping

import msgspec

PROMPT = "_content.prompt"
AGENT_RISK_TIER = "_agent.risk_tier"
AGENT_DATA_CLASSIFICATIONS = "_agent.data_classifications"

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
    job_id: str = ""
    content: bytes = b""
    content_type: str = ""
    content_size: int = 0
    """Bytes. What the caller says the content has; `content` may be less of it, or missing."""

    @property
    def secrets_present(self) -> bool:
        """The label decides when it is there and not blank, else the risk tag `secrets`."""
        said = self.labels.get("secrets_present", "").strip()
        return said.lower() in _TRUE_WORDS if said else "secrets" in self.risk_tags

    @property
    def agent_risk_tier(self) -> str:
        """That of the agent the job is from, as the gateway found it in its register; folded."""
        return fold(self.labels.get(AGENT_RISK_TIER, ""))

    @property
    def agent_data_classifications(self) -> frozenset[str]:
        """What kinds of data the agent may hold, as the gateway found it; folded."""
        return fold_all(self.labels.get(AGENT_DATA_CLASSIFICATIONS, "").split(","))

    @property
    def prompt(self) -> str:
        """The prompt the gateway found in what was submitted."""
        return self.labels.get(PROMPT, "")


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
    job_id: str = "",
    content: bytes = b"",
    content_type: str = "",
    content_size: int = 0,
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
        job_id,
        content,
        fold(content_type),
        max(content_size, len(content)),
    )


def fold(text: str) -> str:
    """How texts are compared when case does not matter: trimmed, lower case."""
    return text.strip().lower()


def fold_all(texts: Iterable[str]) -> frozenset[str]:
    """Folded, without the empty ones."""
    folded = [text.strip().lower() for text in texts]
    return frozenset(filter(None, folded)) if folded else NOTHING
