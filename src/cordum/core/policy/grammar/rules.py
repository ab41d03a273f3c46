"""`rules[]`: matches, decisions, and what goes with them (spec-safety 4.1, 4.6 and 4.8)."""

import re
from collections.abc import Mapping

from cordum.core.policy.decision import (
    NO_CONSTRAINTS,
    ONE_APPROVAL,
    ApprovalTerms,
    Budgets,
    Constraints,
    Decision,
    Diff,
    Remediation,
    Sandbox,
    Toolchain,
)
from cordum.core.policy.document import Match, Rule, Velocity
from cordum.core.policy.grammar.matching import Matching
from cordum.core.policy.grammar.words import BELONGS, DECISION_WORDS
from cordum.core.policy.reading import MAX_INT64, join, says_nothing
from cordum.core.policy.velocity import MAX_WINDOW_S, BadKeyError, key_of
from cordum.core.policy.yaml_tree import Node, Scalar

_RULE = (
    "id",
    "tier",
    "selector",
    "match",
    "velocity",
    "decision",
    "reason",
    "constraints",
    "remediations",
    "approval",
    "throttle",
)
_MOVED_CONSTRAINTS = {
    "max_output_bytes": "is not enforced as a constraint; write an output rule with output_size_gt",
    "allowed_destinations": "is not enforced as a constraint; write sandbox.network_allowlist",
    "redact_patterns": "is not enforced as a constraint; write an output rule with decision redact",
}
_APPROVAL = ("required", "roles", "expires_after", "escalate_after", "escalate_to")
_MOST_APPROVALS = 20
_LONGEST_WAIT_MS = 24 * 3600 * 1000
_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")
_UNITS_S = (86_400, 3_600, 60, 1)
_LONGEST_DURATION_S = 366 * 86_400


class Rules(Matching):
    """Reads rules."""

    def rule(self, node: Node, path: str) -> Rule:
        """One rule."""
        fields = self.mapping(node, path, _RULE, elsewhere={k: v for k, v in BELONGS.items() if k not in _RULE})
        decision = Decision.DENY
        if "decision" in fields:
            decision = self.word(fields["decision"], join(path, "decision"), DECISION_WORDS, Decision.DENY)
        place = self.place(fields, node, path)
        id_, named = self.id_of(fields, path, "rule")
        return Rule(
            id=id_,
            named=named,
            tier=place.tier,
            selector=place.selector,
            match=self.match(fields["match"], join(path, "match"), decision) if "match" in fields else Match(),
            velocity=self._velocity(fields["velocity"], join(path, "velocity")) if "velocity" in fields else None,
            decision=decision,
            reason=self.optional(fields, "reason", path),
            constraints=self._constraints(fields, path),
            remediations=self._remediations(fields, path),
            approval=self._approval(fields, path, decision),
            retry_after_ms=self._retry_after_ms(fields, path, decision),
            line=node.line,
        )

    def _velocity(self, node: Node, path: str) -> Velocity | None:
        if isinstance(node, Scalar) and node.is_null:
            return None
        fields = self.mapping(node, path, Velocity.__struct_fields__)
        for name in Velocity.__struct_fields__:
            if name not in fields:
                self.fault(node, path, f"needs {name}")
        key = self.optional(fields, "key", path).strip()
        if "key" in fields:
            try:
                key_of(key)
            except BadKeyError as error:
                self.fault(fields["key"], join(path, "key"), str(error))
        return Velocity(
            max_requests=self.at_least_one(fields, "max_requests", path),
            window_seconds=self.at_least_one(fields, "window_seconds", path, MAX_WINDOW_S),
            key=key,
        )

    def at_least_one(self, fields: Mapping[str, Node], name: str, path: str, *most: int) -> int:
        """A whole number from 1; 1 without the field."""
        if name not in fields:
            return 1
        number = self.count(fields[name], join(path, name), *most)
        if number == 0 and isinstance(fields[name], Scalar):
            self.fault(fields[name], join(path, name), "must be at least 1")
        return number or 1

    def _approval(self, fields: Mapping[str, Node], path: str, decision: Decision) -> ApprovalTerms:
        if "approval" not in fields or says_nothing(fields["approval"]):
            return ONE_APPROVAL
        node, path = fields["approval"], join(path, "approval")
        if decision is not Decision.REQUIRE_APPROVAL:
            self.fault(node, path, "means something only where the decision is require_approval")
        terms = self.mapping(node, path, _APPROVAL)
        if "escalate_to" in terms and "escalate_after" not in terms:
            self.fault(terms["escalate_to"], join(path, "escalate_to"), "needs escalate_after beside it")
        if "escalate_after" in terms and "escalate_to" not in terms:
            self.fault(terms["escalate_after"], join(path, "escalate_after"), "needs escalate_to beside it")
        return ApprovalTerms(
            required=self.at_least_one(terms, "required", path, _MOST_APPROVALS),
            roles=self.lists(terms, "roles", path),
            expires_after_s=self._duration_s(terms, "expires_after", path),
            escalate_after_s=self._duration_s(terms, "escalate_after", path),
            escalate_to=self.lists(terms, "escalate_to", path),
        )

    def _duration_s(self, fields: Mapping[str, Node], name: str, path: str) -> int:
        """Seconds; a number alone is seconds too."""
        if name not in fields:
            return 0
        text = self.text(fields[name], join(path, name)).strip().lower()
        parts = _DURATION.fullmatch(f"{text}s" if text.isascii() and text.isdigit() else text)
        seconds = 0
        if parts is not None:
            seconds = sum(int(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS_S, strict=True))
        if not 0 < seconds <= _LONGEST_DURATION_S:
            self.fault(fields[name], join(path, name), "must be a duration such as 90s, 10m, 1h30m or 2d, up to a year")
        return seconds

    def _retry_after_ms(self, fields: Mapping[str, Node], path: str, decision: Decision) -> int:
        if "throttle" not in fields or says_nothing(fields["throttle"]):
            return 0
        node, path = fields["throttle"], join(path, "throttle")
        if decision is not Decision.THROTTLE:
            self.fault(node, path, "means something only where the decision is throttle")
        terms = self.mapping(node, path, ("retry_after_ms",))
        return self.at_least_one(terms, "retry_after_ms", path, _LONGEST_WAIT_MS) if terms else 0

    def _remediations(self, fields: Mapping[str, Node], path: str) -> tuple[Remediation, ...]:
        name = "remediations"
        return tuple(self.items(fields[name], join(path, name), self._remediation)) if name in fields else ()

    def _remediation(self, node: Node, path: str) -> Remediation:
        fields = self.mapping(node, path, Remediation.__struct_fields__)
        added = fields.get("add_labels")
        return Remediation(
            id=self.optional(fields, "id", path),
            title=self.optional(fields, "title", path),
            summary=self.optional(fields, "summary", path),
            replacement_topic=self.optional(fields, "replacement_topic", path),
            replacement_capability=self.optional(fields, "replacement_capability", path),
            add_labels={} if added is None else self.text_pairs(added, join(path, "add_labels")),
            remove_labels=self.lists(fields, "remove_labels", path),
        )

    # Constraints

    def _constraints(self, fields: Mapping[str, Node], path: str) -> Constraints:
        if "constraints" not in fields:
            return NO_CONSTRAINTS
        path = join(path, "constraints")
        known = Constraints.__struct_fields__
        parts = self.mapping(fields["constraints"], path, known, refused=_MOVED_CONSTRAINTS)
        wide = dict.fromkeys(("max_runtime_ms", "max_artifact_bytes"), MAX_INT64)
        budgets = (
            self.mapping(parts["budgets"], f"{path}.budgets", Budgets.__struct_fields__) if "budgets" in parts else {}
        )
        return Constraints(
            budgets=Budgets(
                **{
                    name: self.count(node, f"{path}.budgets.{name}", *([wide[name]] if name in wide else []))
                    for name, node in budgets.items()
                }
            ),
            sandbox=self._sandbox(parts, path),
            toolchain=self._toolchain(parts, path),
            diff=self._diff(parts, path),
            redaction_level=self.optional(parts, "redaction_level", path),
        )

    def _sandbox(self, parts: Mapping[str, Node], path: str) -> Sandbox:
        if "sandbox" not in parts:
            return Sandbox()
        path = join(path, "sandbox")
        fields = self.mapping(parts["sandbox"], path, Sandbox.__struct_fields__)
        isolated = self.flag(fields, "isolated", path) or False
        lists = {name: self.lists(fields, name, path) for name in fields if name != "isolated"}
        return Sandbox(isolated=isolated, **lists)

    def _toolchain(self, parts: Mapping[str, Node], path: str) -> Toolchain:
        if "toolchain" not in parts:
            return Toolchain()
        path = join(path, "toolchain")
        fields = self.mapping(parts["toolchain"], path, Toolchain.__struct_fields__)
        return Toolchain(**{name: self.lists(fields, name, path) for name in fields})

    def _diff(self, parts: Mapping[str, Node], path: str) -> Diff:
        if "diff" not in parts:
            return Diff()
        path = join(path, "diff")
        fields = self.mapping(parts["diff"], path, Diff.__struct_fields__)
        counts = {n: self.count(node, join(path, n)) for n, node in fields.items() if n != "deny_path_globs"}
        return Diff(deny_path_globs=self.lists(fields, "deny_path_globs", path), **counts)
