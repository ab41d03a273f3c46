"""From the bytes of a policy file to a document (spec-safety section 4).

Nothing is skipped: a key that is unknown, a value of the wrong kind, a pattern that cannot match, a scanner that does
not exist or a rule attached to two things at once refuses the whole document. A rule that silently does nothing would
be a hole in the policy.
"""

from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.policy import yaml_tree
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import (
    Combine,
    InputPolicy,
    PolicyDocument,
    RequireHuman,
    Tier,
    TierDefault,
)
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.grammar.sections import Sections
from cordum.core.policy.grammar.words import BELONGS, DECISION_WORDS
from cordum.core.policy.request import fold
from cordum.core.policy.yaml_tree import Node, Scalar

__all__ = ["DECISION_WORDS", "MAX_BYTES", "parse_policy"]

MAX_BYTES = 2 * 1024 * 1024
"""The default of SAFETY_POLICY_MAX_BYTES."""

_DOCUMENT = (
    "version",
    "tier",
    "selector",
    "default_tenant",
    "default_decision",
    "combine",
    "rules",
    "input_policy",
    "input_rules",
    "output_policy",
    "output_rules",
    "tenants",
    "require_human",
    "risk_tag_derivers",
    "tests",
)
_DEFAULTS = {"deny": Decision.DENY, "allow": Decision.ALLOW}
_COMBINE = {combine.value: combine for combine in Combine}


def parse_policy(data: bytes, max_bytes: int = MAX_BYTES, *, scanners: ScannerSet = SCANNERS) -> PolicyDocument:
    """The document in `data`, whose content rules may name `scanners`.

    Raises PolicyError with every fault found (up to 50), each with line and column.
    """
    if len(data) > max_bytes:
        raise PolicyError([Fault(1, 1, "", f"{len(data)} bytes, more than the {max_bytes} allowed")])
    reading = _PolicyReader()
    reading.scanners = scanners
    document = reading.document(yaml_tree.parse(data))
    reading.finish()
    return document


class _PolicyReader(Sections):
    """The grammar of a whole document."""

    def document(self, node: Node) -> PolicyDocument:
        elsewhere = {name: place for name, place in BELONGS.items() if name not in _DOCUMENT}
        fields = self.mapping(node, "", _DOCUMENT, elsewhere=elsewhere)
        self.within = self.place(fields, node, "")
        default: Decision | None = None
        if "default_decision" in fields:
            default = self.word(fields["default_decision"], "default_decision", _DEFAULTS, Decision.DENY)
        attached = self.within.tier is not Tier.GLOBAL
        tier_default = TierDefault(
            tier=self.within.tier, selector=self.within.selector, decision=default or Decision.DENY
        )
        combine = Combine.FIRST_MATCH
        if "combine" in fields:
            combine = self.word(fields["combine"], "combine", _COMBINE, combine)
        document = PolicyDocument(
            version=self.optional(fields, "version", ""),
            tier=self.within.tier,
            selector=self.within.selector,
            default_tenant=self.optional(fields, "default_tenant", "").strip(),
            default_decision=None if attached else default,
            tier_defaults=(tier_default,) if attached else (),
            combine=combine,
            rules=tuple(self.items(fields["rules"], "rules", self.rule)) if "rules" in fields else (),
            input_policy=self.input_policy(fields["input_policy"], "input_policy")
            if "input_policy" in fields
            else InputPolicy(),
            input_rules=tuple(self.items(fields["input_rules"], "input_rules", self.input_rule))
            if "input_rules" in fields
            else (),
            output_policy=self.output_policy(fields["output_policy"], "output_policy")
            if "output_policy" in fields and self._says(fields["output_policy"])
            else None,
            output_rules=tuple(self.items(fields["output_rules"], "output_rules", self.output_rule))
            if "output_rules" in fields
            else (),
            tenants=self.named(fields["tenants"], "tenants", self.tenant) if "tenants" in fields else {},
            require_human=self.require_human(fields["require_human"], "require_human")
            if "require_human" in fields
            else RequireHuman(),
            risk_tag_derivers=self.derivers(fields["risk_tag_derivers"], "risk_tag_derivers")
            if "risk_tag_derivers" in fields
            else {},
            tests=tuple(self.items(fields["tests"], "tests", self.policy_test)) if "tests" in fields else (),
        )
        self._unique_names(document, fields)
        return document

    def _says(self, node: Node) -> bool:
        return not (isinstance(node, Scalar) and node.is_null)

    def _unique_names(self, document: PolicyDocument, fields: dict[str, Node]) -> None:
        for name, rules in (
            ("rules", document.rules),
            ("input_rules", document.input_rules),
            ("output_rules", document.output_rules),
        ):
            self.unique(fields.get(name), name, [(rule.id, rule.line) for rule in rules])
        folded: dict[str, str] = {}
        for name in document.tenants:
            other = folded.setdefault(fold(name), name)
            if other != name or not fold(name):
                problem = f'"{name}" and "{other}" are the same tenant' if fold(name) else "a tenant needs a name"
                self.fault(fields["tenants"], "tenants", problem)
