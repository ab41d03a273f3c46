"""From the bytes of a policy file to a document (spec-safety section 4).

Nothing is skipped: a key that is unknown, a value of the wrong kind, a pattern that cannot match, or a part of the full
language that this version does not enforce refuses the whole document. A rule that silently does nothing would be a
hole in the policy.
"""

from cordum.core.policy import yaml_tree
from cordum.core.policy.decision import Budgets, Constraints, Decision, Diff, Remediation, Sandbox, Toolchain
from cordum.core.policy.document import DEFAULT_TENANT, Match, PolicyDocument, Rule, TenantPolicy
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.glob import BadGlobError, compile_glob
from cordum.core.policy.reading import MAX_INT64, Reader, join
from cordum.core.policy.request import fold
from cordum.core.policy.yaml_tree import Node

MAX_BYTES = 2 * 1024 * 1024
"""The default of SAFETY_POLICY_MAX_BYTES."""

DECISION_WORDS = {
    "allow": Decision.ALLOW,
    "permit": Decision.ALLOW,
    "deny": Decision.DENY,
    "block": Decision.DENY,
    "require_approval": Decision.REQUIRE_APPROVAL,
    "require-approval": Decision.REQUIRE_APPROVAL,
    "require_human": Decision.REQUIRE_APPROVAL,
    "allow_with_constraints": Decision.ALLOW_WITH_CONSTRAINTS,
    "allow-with-constraints": Decision.ALLOW_WITH_CONSTRAINTS,
    "throttle": Decision.THROTTLE,
}

_DOCUMENT = ("version", "tier", "default_tenant", "default_decision", "rules", "tenants")
_DOCUMENT_LATER = ("selector", "input_policy", "input_rules", "output_policy", "output_rules", "require_human")
_RULE = ("id", "tier", "match", "decision", "reason", "constraints", "remediations")
_RULE_LATER = ("selector", "velocity")
_MATCH = Match.__struct_fields__
_MATCH_LATER = ("agent_risk_tiers", "agent_data_classifications", "mcp", "predicate", "delegation")
_CONTENT_KEYS = dict.fromkeys(
    (
        "keywords",
        "scanners",
        "detectors",
        "content_patterns",
        "content_types",
        "input_size_gt",
        "max_input_bytes",
        "scope",
    ),
    "input_rules",
)
_TENANT = ("allow_topics", "deny_topics", "max_concurrent_jobs")
_TENANT_LATER = ("allowed_repo_hosts", "denied_repo_hosts", "mcp")
_CONSTRAINTS = Constraints.__struct_fields__
_CONSTRAINTS_LATER = ("max_output_bytes", "allowed_destinations", "redact_patterns")
_REMEDIATION = Remediation.__struct_fields__


def parse_policy(data: bytes, max_bytes: int = MAX_BYTES) -> PolicyDocument:
    """The document in `data`. Raises PolicyError with every fault found (up to 50), each with line and column."""
    if len(data) > max_bytes:
        raise PolicyError([Fault(1, 1, "", f"{len(data)} bytes, more than the {max_bytes} allowed")])
    reading = _PolicyReader()
    document = reading.document(yaml_tree.parse(data))
    reading.finish()
    return document


class _PolicyReader(Reader):
    """The grammar of a policy document."""

    def document(self, node: Node) -> PolicyDocument:
        fields = self.mapping(node, "", _DOCUMENT, later=_DOCUMENT_LATER)
        self._global_tier(fields, "")
        default = Decision.DENY
        if "default_decision" in fields:
            words = {"deny": Decision.DENY, "allow": Decision.ALLOW}
            default = self.word(fields["default_decision"], "default_decision", words, Decision.DENY)
        document = PolicyDocument(
            version=self._text(fields, "version", ""),
            default_tenant=self._text(fields, "default_tenant", "").strip() or DEFAULT_TENANT,
            default_decision=default,
            rules=tuple(self.items(fields["rules"], "rules", self.rule)) if "rules" in fields else (),
            tenants=self.named(fields["tenants"], "tenants", self.tenant) if "tenants" in fields else {},
        )
        self._unique_names(document, fields)
        return document

    def rule(self, node: Node, path: str) -> Rule:
        fields = self.mapping(node, path, _RULE, later=_RULE_LATER)
        self._global_tier(fields, path)
        decision = Decision.DENY
        if "decision" in fields:
            decision = self.word(fields["decision"], join(path, "decision"), DECISION_WORDS, Decision.DENY)
        position = int(path.rpartition("[")[2].rstrip("]")) + 1
        return Rule(
            id=self._text(fields, "id", path).strip() or f"rule-{position}",
            match=self.match(fields["match"], join(path, "match")) if "match" in fields else Match(),
            decision=decision,
            reason=self._text(fields, "reason", path),
            constraints=self._constraints(fields, path),
            remediations=self._remediations(fields, path),
            line=node.line,
        )

    def match(self, node: Node, path: str) -> Match:
        fields = self.mapping(node, path, _MATCH, later=_MATCH_LATER, elsewhere=_CONTENT_KEYS)

        def texts(name: str) -> tuple[str, ...]:
            return self.texts(fields[name], join(path, name)) if name in fields else ()

        return Match(
            tenants=texts("tenants"),
            topics=self._topics(fields, "topics", path),
            capabilities=texts("capabilities"),
            risk_tags=texts("risk_tags"),
            requires=texts("requires"),
            pack_ids=texts("pack_ids"),
            actor_ids=texts("actor_ids"),
            actor_types=self._actor_types(fields, path),
            labels=self.text_pairs(fields["labels"], join(path, "labels")) if "labels" in fields else {},
            label_allowlist=self._allowlists(fields, path),
            label_threshold=self._thresholds(fields, path),
            secrets_present=self._secrets_present(fields, path),
        )

    def tenant(self, node: Node, path: str) -> TenantPolicy:
        fields = self.mapping(node, path, _TENANT, later=_TENANT_LATER)
        limit = fields.get("max_concurrent_jobs")
        return TenantPolicy(
            allow_topics=self._topics(fields, "allow_topics", path),
            deny_topics=self._topics(fields, "deny_topics", path),
            max_concurrent_jobs=0 if limit is None else self.count(limit, join(path, "max_concurrent_jobs")),
        )

    def remediation(self, node: Node, path: str) -> Remediation:
        fields = self.mapping(node, path, _REMEDIATION)
        added, removed = fields.get("add_labels"), fields.get("remove_labels")
        return Remediation(
            id=self._text(fields, "id", path),
            title=self._text(fields, "title", path),
            summary=self._text(fields, "summary", path),
            replacement_topic=self._text(fields, "replacement_topic", path),
            replacement_capability=self._text(fields, "replacement_capability", path),
            add_labels={} if added is None else self.text_pairs(added, join(path, "add_labels")),
            remove_labels=() if removed is None else self.texts(removed, join(path, "remove_labels")),
        )

    # Parts

    def _text(self, fields: dict[str, Node], name: str, path: str) -> str:
        return self.optional_text(fields[name], join(path, name)) if name in fields else ""

    def _global_tier(self, fields: dict[str, Node], path: str) -> None:
        """`tier: global` is what every rule has anyway; the other tiers are not built yet."""
        if "tier" in fields and self._text(fields, "tier", path).strip().lower() not in ("", "global"):
            self.fault(fields["tier"], join(path, "tier"), f"not supported by this version: {join(path, 'tier')}")

    def _topics(self, fields: dict[str, Node], name: str, path: str) -> tuple[str, ...]:
        def pattern(node: Node, here: str) -> str:
            text = self.filled_text(node, here)
            try:
                compile_glob(text)
            except BadGlobError as error:
                self.fault(node, here, f'bad pattern "{text}": {error}')
            return text

        return tuple(self.items(fields[name], join(path, name), pattern)) if name in fields else ()

    def _actor_types(self, fields: dict[str, Node], path: str) -> tuple[str, ...]:
        words = {"human": "human", "service": "service"}

        def actor_type(node: Node, here: str) -> str:
            return self.word(node, here, words, "human")

        name = "actor_types"
        return tuple(self.items(fields[name], join(path, name), actor_type)) if name in fields else ()

    def _allowlists(self, fields: dict[str, Node], path: str) -> dict[str, tuple[str, ...]]:
        def allowed(node: Node, here: str) -> tuple[str, ...]:
            values = tuple(self.items(node, here, self.text))
            if not values:
                self.fault(node, here, "must name the allowed values")
            return values

        name = "label_allowlist"
        return self.named(fields[name], join(path, name), allowed) if name in fields else {}

    def _thresholds(self, fields: dict[str, Node], path: str) -> dict[str, float]:
        name = "label_threshold"
        return self.named(fields[name], join(path, name), self.number) if name in fields else {}

    def _secrets_present(self, fields: dict[str, Node], path: str) -> bool | None:
        name = "secrets_present"
        return self.truth(fields[name], join(path, name)) if name in fields else None

    def _remediations(self, fields: dict[str, Node], path: str) -> tuple[Remediation, ...]:
        name = "remediations"
        return tuple(self.items(fields[name], join(path, name), self.remediation)) if name in fields else ()

    def _constraints(self, fields: dict[str, Node], path: str) -> Constraints:
        if "constraints" not in fields:
            return Constraints()
        path = join(path, "constraints")
        parts = self.mapping(fields["constraints"], path, _CONSTRAINTS, later=_CONSTRAINTS_LATER)
        return Constraints(
            budgets=Budgets(**self._numbers(parts, "budgets", path, Budgets.__struct_fields__)),
            sandbox=self._sandbox(parts, path),
            toolchain=Toolchain(**self._lists(parts, "toolchain", path, Toolchain.__struct_fields__)),
            diff=self._diff(parts, path),
            redaction_level=self._text(parts, "redaction_level", path),
        )

    def _sandbox(self, parts: dict[str, Node], path: str) -> Sandbox:
        if "sandbox" not in parts:
            return Sandbox()
        path = join(path, "sandbox")
        fields = self.mapping(parts["sandbox"], path, Sandbox.__struct_fields__)
        isolated = fields.pop("isolated", None)
        return Sandbox(
            isolated=False if isolated is None else self.truth(isolated, join(path, "isolated")),
            **{name: self.texts(node, join(path, name)) for name, node in fields.items()},
        )

    def _diff(self, parts: dict[str, Node], path: str) -> Diff:
        if "diff" not in parts:
            return Diff()
        path = join(path, "diff")
        fields = self.mapping(parts["diff"], path, Diff.__struct_fields__)
        globs = fields.pop("deny_path_globs", None)
        return Diff(
            deny_path_globs=() if globs is None else self.texts(globs, join(path, "deny_path_globs")),
            **{name: self.count(node, join(path, name)) for name, node in fields.items()},
        )

    def _numbers(self, parts: dict[str, Node], name: str, path: str, known: tuple[str, ...]) -> dict[str, int]:
        if name not in parts:
            return {}
        fields = self.mapping(parts[name], join(path, name), known)
        wide = ("max_runtime_ms", "max_artifact_bytes")
        return {
            field: self.count(node, f"{path}.{name}.{field}", *([MAX_INT64] if field in wide else []))
            for field, node in fields.items()
        }

    def _lists(
        self, parts: dict[str, Node], name: str, path: str, known: tuple[str, ...]
    ) -> dict[str, tuple[str, ...]]:
        if name not in parts:
            return {}
        fields = self.mapping(parts[name], join(path, name), known)
        return {field: self.texts(node, f"{path}.{name}.{field}") for field, node in fields.items()}

    def _unique_names(self, document: PolicyDocument, fields: dict[str, Node]) -> None:
        first_line: dict[str, int] = {}
        for index, rule in enumerate(document.rules):
            if rule.id in first_line:
                node = fields["rules"].items[index]  # type: ignore[union-attr]  # rules were read from a list
                self.fault(
                    node, f"rules[{index}].id", f'"{rule.id}" is also the id of the rule in line {first_line[rule.id]}'
                )
            first_line.setdefault(rule.id, rule.line)
        folded: dict[str, str] = {}
        for name in document.tenants:
            other = folded.setdefault(fold(name), name)
            if other != name or not fold(name):
                problem = f'"{name}" and "{other}" are the same tenant' if fold(name) else "a tenant needs a name"
                self.fault(fields["tenants"], "tenants", problem)
