"""`input_rules[]` and `output_rules[]`: rules about content (spec-safety 4.5 and 10)."""

from collections.abc import Mapping

from cordum.core.output.engine import ContentTest
from cordum.core.output.finding import Severity
from cordum.core.output.patterns import BadPatternError, compile_pattern
from cordum.core.output.scanners import SCANNERS, ScannerSet, UnknownScannerError
from cordum.core.output.scope import Doubt, Scope
from cordum.core.policy.decision import Decision, OutputDecision
from cordum.core.policy.document import ContentMatch, InputRule, OutputRule
from cordum.core.policy.grammar.rules import Rules
from cordum.core.policy.grammar.words import BELONGS, DECISION_WORDS
from cordum.core.policy.reading import MAX_INT64, join
from cordum.core.policy.yaml_tree import Node

_RULE = ("id", "tier", "selector", "enabled", "severity", "description", "match", "decision", "reason")
_BOTH = (
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "content_types",
    "scanners",
    "detectors",
    "content_patterns",
    "keywords",
)
_INPUT = (*_BOTH, "input_size_gt", "max_input_bytes", "scope")
_OUTPUT = (*_BOTH, "output_size_gt", "max_output_bytes", "has_error")
_SCOPE = Scope.__struct_fields__

_INPUT_WORDS = {
    word: decision
    for word, decision in DECISION_WORDS.items()
    if decision in (Decision.DENY, Decision.REQUIRE_APPROVAL)
}
_OUTPUT_WORDS = {
    "allow": OutputDecision.ALLOW,
    "permit": OutputDecision.ALLOW,
    "deny": OutputDecision.DENY,
    "block": OutputDecision.DENY,
    "quarantine": OutputDecision.QUARANTINE,
    "redact": OutputDecision.REDACT,
}
SEVERITIES = {severity.value: severity for severity in Severity}
_DOUBTS = {doubt.value: doubt for doubt in Doubt}


class ContentRules(Rules):
    """Reads content rules, which may name the scanners given."""

    scanners: ScannerSet = SCANNERS

    def input_rule(self, node: Node, path: str) -> InputRule:
        """One input rule."""
        fields = self._fields(node, path)
        decision = Decision.DENY
        if "decision" in fields:
            decision = self.word(fields["decision"], join(path, "decision"), _INPUT_WORDS, Decision.DENY)
        place = self.place(fields, node, path)
        id_, named = self.id_of(fields, path, "input-rule")
        return InputRule(
            id=id_,
            named=named,
            tier=place.tier,
            selector=place.selector,
            enabled=self.flag(fields, "enabled", path) is not False,
            severity=self._severity(fields, path),
            description=self.optional(fields, "description", path),
            match=self._match(fields, path, _INPUT, ("input_size_gt", "max_input_bytes")),
            decision=decision,
            reason=self.optional(fields, "reason", path),
            line=node.line,
        )

    def output_rule(self, node: Node, path: str) -> OutputRule:
        """One output rule. Without a decision it quarantines."""
        fields = self._fields(node, path)
        decision = OutputDecision.QUARANTINE
        if "decision" in fields:
            decision = self.word(fields["decision"], join(path, "decision"), _OUTPUT_WORDS, decision)
        place = self.place(fields, node, path)
        id_, named = self.id_of(fields, path, "output-rule")
        return OutputRule(
            id=id_,
            named=named,
            tier=place.tier,
            selector=place.selector,
            enabled=self.flag(fields, "enabled", path) is not False,
            severity=self._severity(fields, path),
            description=self.optional(fields, "description", path),
            match=self._match(fields, path, _OUTPUT, ("output_size_gt", "max_output_bytes")),
            decision=decision,
            reason=self.optional(fields, "reason", path),
            line=node.line,
        )

    def _fields(self, node: Node, path: str) -> dict[str, Node]:
        return self.mapping(node, path, _RULE, elsewhere={k: v for k, v in BELONGS.items() if k not in _RULE})

    def _severity(self, fields: Mapping[str, Node], path: str) -> Severity:
        name = "severity"
        return self.word(fields[name], join(path, name), SEVERITIES, Severity.HIGH) if name in fields else Severity.HIGH

    def _match(
        self, rule: Mapping[str, Node], path: str, known: tuple[str, ...], sizes: tuple[str, str]
    ) -> ContentMatch:
        if "match" not in rule:
            return ContentMatch()
        node, path = rule["match"], join(path, "match")
        fields = self.mapping(node, path, known, elsewhere={k: v for k, v in BELONGS.items() if k not in known})
        match = ContentMatch(
            tenants=self.lists(fields, "tenants", path),
            topics=self.patterns(fields, "topics", path),
            capabilities=self.lists(fields, "capabilities", path),
            risk_tags=self.lists(fields, "risk_tags", path),
            content_types=self.lists(fields, "content_types", path),
            scanners=self._scanners(fields, path),
            content_patterns=self._content_patterns(fields, path),
            keywords=self._keywords(fields, path),
            size_gt=max(self.count(fields[n], join(path, n), MAX_INT64) if n in fields else 0 for n in sizes),
            has_error=self.flag(fields, "has_error", path),
            scope=self._scope(fields["scope"], join(path, "scope")) if "scope" in fields else None,
        )
        if not self.faults:
            try:
                ContentTest.compile(match.content_patterns, match.keywords, match.scanners, self.scanners)
            except (BadPatternError, UnknownScannerError) as error:
                self.fault(node, path, str(error))
        return match

    def _scanners(self, fields: Mapping[str, Node], path: str) -> tuple[str, ...]:
        def scanner(node: Node, here: str) -> str:
            text = self.filled_text(node, here)
            if text.strip() and text not in self.scanners:
                there_are = ", ".join(self.scanners.names)
                self.fault(node, here, f'unknown scanner "{text}"; there are: {there_are}')
            return self.scanners.aliases(text)

        found = [
            name
            for key in ("scanners", "detectors")
            if key in fields
            for name in self.items(fields[key], join(path, key), scanner)
        ]
        return tuple(dict.fromkeys(found))

    def _content_patterns(self, fields: Mapping[str, Node], path: str) -> tuple[str, ...]:
        def pattern(node: Node, here: str) -> str:
            text = self.filled_text(node, here)
            try:
                compile_pattern(text)
            except BadPatternError as error:
                self.fault(node, here, f'bad pattern "{text[:256]}": {error}')
            return text

        name = "content_patterns"
        return tuple(self.items(fields[name], join(path, name), pattern)) if name in fields else ()

    def _keywords(self, fields: Mapping[str, Node], path: str) -> tuple[str, ...]:
        def keyword(node: Node, here: str) -> str:
            text = self.filled_text(node, here)
            if text.strip():
                try:
                    ContentTest.compile(keywords=[text])
                except BadPatternError as error:
                    self.fault(node, here, str(error))
            return text

        name = "keywords"
        return tuple(self.items(fields[name], join(path, name), keyword)) if name in fields else ()

    def _scope(self, node: Node, path: str) -> Scope | None:
        fields = self.mapping(node, path, _SCOPE)
        for name in ("instruction_path", "items_path"):
            if not self.optional(fields, name, path).strip():
                self.fault(node, path, f"needs {name}")

        def categories(listed: Node, here: str) -> tuple[str, ...]:
            return self.texts(listed, here)

        allowed = fields.get("allowed_categories")
        aliases = fields.get("aliases")
        return Scope(
            instruction_path=self.optional(fields, "instruction_path", path).strip(),
            items_path=self.optional(fields, "items_path", path).strip(),
            category_path=self.optional(fields, "category_path", path).strip() or "category",
            name_path=self.optional(fields, "name_path", path).strip() or "name",
            allowed_categories={}
            if allowed is None
            else self.named(allowed, join(path, "allowed_categories"), categories),
            aliases={} if aliases is None else self.text_pairs(aliases, join(path, "aliases")),
            on_missing_input=self._doubt(fields, "on_missing_input", path),
            on_ambiguous=self._doubt(fields, "on_ambiguous", path),
        )

    def _doubt(self, fields: Mapping[str, Node], name: str, path: str) -> Doubt:
        return self.word(fields[name], join(path, name), _DOUBTS, Doubt.DENY) if name in fields else Doubt.DENY
