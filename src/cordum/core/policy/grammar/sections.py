"""The document's other sections: tenants, settings of content rules, derivers, tests (spec-safety 4, 4.4 and 4.7)."""

import re
from collections.abc import Mapping

from cordum.core.output.finding import Severity
from cordum.core.policy.derive import DERIVERS, MCP_OP
from cordum.core.policy.document import (
    MAX_SCAN_BYTES,
    FailMode,
    InputPolicy,
    McpOpRule,
    OutputPolicySettings,
    PolicyTest,
    RequireHuman,
    RiskDeriver,
    TenantPolicy,
)
from cordum.core.policy.grammar.content import SEVERITIES, ContentRules
from cordum.core.policy.reading import join
from cordum.core.policy.request import fold
from cordum.core.policy.yaml_tree import Node, Scalar, Sequence

_FAIL_MODES = {mode.value: mode for mode in FailMode}
_LARGEST_SCAN = 64 * 1024 * 1024
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_FLOAT = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")


class Sections(ContentRules):
    """Reads everything but rules."""

    def tenant(self, node: Node, path: str) -> TenantPolicy:
        """One tenant's bounds."""
        fields = self.mapping(node, path, TenantPolicy.__struct_fields__)
        limit = fields.get("max_concurrent_jobs")
        return TenantPolicy(
            allow_topics=self.patterns(fields, "allow_topics", path),
            deny_topics=self.patterns(fields, "deny_topics", path),
            max_concurrent_jobs=0 if limit is None else self.count(limit, join(path, "max_concurrent_jobs")),
            allowed_repo_hosts=self.patterns(fields, "allowed_repo_hosts", path),
            denied_repo_hosts=self.patterns(fields, "denied_repo_hosts", path),
            mcp=self.mcp_lists(fields, path),
        )

    def input_policy(self, node: Node, path: str) -> InputPolicy:
        """How input rules are applied."""
        fields = self.mapping(node, path, ("enabled", "fail_mode", "max_scan_bytes"))
        mode = FailMode.CLOSED
        if "fail_mode" in fields:
            mode = self.word(fields["fail_mode"], join(path, "fail_mode"), _FAIL_MODES, mode)
        limit = MAX_SCAN_BYTES
        if "max_scan_bytes" in fields:
            limit = self.at_least_one(fields, "max_scan_bytes", path, _LARGEST_SCAN)
        enabled = self.flag(fields, "enabled", path) is not False
        return InputPolicy(enabled=enabled, fail_mode=mode, max_scan_bytes=limit, given=tuple(sorted(fields)))

    def output_policy(self, node: Node, path: str) -> OutputPolicySettings:
        """Whether output rules are applied, and what happens when they cannot be."""
        fields = self.mapping(node, path, OutputPolicySettings.__struct_fields__)
        mode = ""
        if "fail_mode" in fields and self.optional(fields, "fail_mode", path).strip():
            mode = self.word(fields["fail_mode"], join(path, "fail_mode"), _FAIL_MODES, FailMode.CLOSED).value
        return OutputPolicySettings(enabled=self.flag(fields, "enabled", path), fail_mode=mode)

    def require_human(self, node: Node, path: str) -> RequireHuman:
        """When a denial becomes a question."""
        fields = self.mapping(node, path, RequireHuman.__struct_fields__)
        severity: Severity | None = None
        if "min_severity_for_deny" in fields and self.optional(fields, "min_severity_for_deny", path).strip():
            here = join(path, "min_severity_for_deny")
            severity = self.word(fields["min_severity_for_deny"], here, SEVERITIES, Severity.LOW)
        confidence = 0.0
        if "min_confidence_for_deny" in fields:
            at, here = fields["min_confidence_for_deny"], join(path, "min_confidence_for_deny")
            confidence = self.number(at, here)
            if not 0 <= confidence <= 1:
                self.fault(at, here, "must be from 0 to 1")
        return RequireHuman(
            min_severity_for_deny=severity,
            min_confidence_for_deny=confidence,
            downgrade_when_prompt_only=self.flag(fields, "downgrade_when_prompt_only", path) or False,
        )

    def derivers(self, node: Node, path: str) -> dict[str, RiskDeriver]:
        """The derivers by topic."""
        found = self.named(node, path, self._deriver)
        for topic in found:
            self.glob(node, f'{path}["{topic}"]', topic)
        return found

    def _deriver(self, node: Node, path: str) -> RiskDeriver:
        fields = self.mapping(node, path, RiskDeriver.__struct_fields__)
        words = {name: name for name in DERIVERS}
        kind = ""
        if "deriver" in fields and self.optional(fields, "deriver", path).strip():
            kind = self.word(fields["deriver"], join(path, "deriver"), words, "")
        name = "mcp_op_rules"
        rules = tuple(self.items(fields[name], join(path, name), self._op_rule)) if name in fields else ()
        if rules and kind not in ("", MCP_OP):
            self.fault(fields[name], join(path, name), f"needs deriver {MCP_OP}")
        if kind == MCP_OP and not rules:
            self.fault(node, path, f"deriver {MCP_OP} needs mcp_op_rules")
        tags = self.lists(fields, "default_risk_tags", path)
        if not (kind or rules or tags):
            self.fault(node, path, "needs deriver, mcp_op_rules or default_risk_tags")
        return RiskDeriver(deriver=kind, mcp_op_rules=rules, default_risk_tags=tags)

    def _op_rule(self, node: Node, path: str) -> McpOpRule:
        fields = self.mapping(node, path, McpOpRule.__struct_fields__)
        glob = self.optional(fields, "op_glob", path).strip()
        if glob:
            self.glob(fields["op_glob"], join(path, "op_glob"), fold(glob))
        else:
            self.fault(node, path, "needs op_glob")
        labels = fields.get("labels")
        return McpOpRule(
            op_glob=glob,
            labels={} if labels is None else self.text_pairs(labels, join(path, "labels")),
            tags=self.lists(fields, "tags", path),
        )

    def policy_test(self, node: Node, path: str) -> PolicyTest:
        """One test; what its request and expectations may say is for whoever runs it."""
        fields = self.mapping(node, path, ("name", "request", "expect"))
        position = int(path.rpartition("[")[2].rstrip("]")) + 1
        return PolicyTest(
            name=self.optional(fields, "name", path).strip() or f"test-{position}",
            request=self._body(fields, "request", path),
            expect=self._body(fields, "expect", path),
            line=node.line,
        )

    def _body(self, fields: Mapping[str, Node], name: str, path: str) -> dict[str, object]:
        if name not in fields:
            return {}
        return self.named(fields[name], join(path, name), lambda node, _path: plain_value(node))


def plain_value(node: Node) -> object:
    """What a value is in JSON. Only `true`, `false`, `null` and plain numbers are more than text."""
    if isinstance(node, Scalar):
        return _scalar(node)
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    return {name: plain_value(key.value) for name, key in node.keys.items()}


def _scalar(node: Scalar) -> object:
    if not node.plain:
        return node.text
    if node.is_null:
        return None
    if node.text in ("true", "false"):
        return node.text == "true"
    if _INTEGER.fullmatch(node.text):
        return int(node.text)
    return float(node.text) if _FLOAT.fullmatch(node.text) else node.text
