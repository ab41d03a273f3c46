"""The operator's scanners file (spec-safety section 10, Scanners file).

A scanner of the file takes the place of the built-in one of the same name; with `extends` it adds to a built-in one.
Nothing is skipped: an unknown key or a pattern that cannot be used refuses the file, with its line.
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from cordum.core.output.checks import CHECKS
from cordum.core.output.finding import Severity
from cordum.core.output.patterns import BadPatternError, Pattern, compile_pattern, compile_trusted
from cordum.core.output.probes import Probe
from cordum.core.output.scanner import Scanner
from cordum.core.policy import yaml_tree
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.reading import Reader, join
from cordum.core.policy.yaml_tree import Node, Scalar

MAX_BYTES = 1024 * 1024
MAX_SCANNERS = 64
MAX_PATTERNS = 128
"""Of one scanner."""
DEFAULT_CONFIDENCE = 0.9

_SCANNER = ("finding_type", "description", "patterns", "extends")
_PATTERN = ("name", "regex", "pattern", "severity", "confidence", "context_required", "check", "description")
_SEVERITIES = {severity.value: severity for severity in Severity}
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class ScannersFileError(PolicyError):
    """The scanners file cannot be used."""

    code: ClassVar[str] = "output_scanners_invalid"


def read_scanners(data: bytes, builtin: Mapping[str, Scanner]) -> dict[str, Scanner]:
    """The scanners of a file, by name. Raises ScannersFileError with every fault and its place."""
    if len(data) > MAX_BYTES:
        raise ScannersFileError([Fault(1, 1, "", f"{len(data)} bytes, more than the {MAX_BYTES} allowed")])
    reading = _ScannersReader(builtin)
    try:
        scanners = reading.file(yaml_tree.parse(data))
        reading.finish()
    except PolicyError as error:
        raise ScannersFileError(error.faults) from error
    return scanners


class _ScannersReader(Reader):
    """The grammar of a scanners file."""

    def __init__(self, builtin: Mapping[str, Scanner]) -> None:
        super().__init__()
        self._builtin = builtin

    def file(self, node: Node) -> dict[str, Scanner]:
        fields = self.mapping(node, "", ("version", "scanners"))
        if "version" in fields:
            self.optional_text(fields["version"], "version")
        if "scanners" not in fields:
            self.fault(node, "scanners", "must be given: the scanners by name")
            return {}
        nodes = self.named(fields["scanners"], "scanners", lambda node, path: node)
        if len(nodes) > MAX_SCANNERS:
            self.fault(fields["scanners"], "scanners", f"{len(nodes)} scanners; at most {MAX_SCANNERS}")
        return {name: self._scanner(name, node) for name, node in list(nodes.items())[:MAX_SCANNERS]}

    def _scanner(self, name: str, node: Node) -> Scanner:
        path = f"scanners.{name}"
        if not _NAME.fullmatch(name) or name == "keyword":
            self.fault(node, path, "not a usable name: lower-case letters, digits, _ . -, and not keyword")
        fields = self.mapping(node, path, _SCANNER)
        base = self._base(fields, path)
        finding_type = base.type if base else name
        if "finding_type" in fields:
            finding_type = self.filled_text(fields["finding_type"], join(path, "finding_type")).strip()
        elif base is None and name in self._builtin:
            finding_type = self._builtin[name].type
        description = self._text(fields, "description", path)
        patterns = join(path, "patterns")
        probes: list[Probe] = []
        if "patterns" in fields:
            probes = self.items(
                fields["patterns"], patterns, lambda item, here: self._pattern(item, here, name, finding_type)
            )
        if not probes and base is None:
            self.fault(node, patterns, "must list at least one pattern")
        if len(probes) > MAX_PATTERNS:
            self.fault(node, patterns, f"{len(probes)} patterns; at most {MAX_PATTERNS}")
            probes = probes[:MAX_PATTERNS]
        return Scanner(name, finding_type, [*(base.probes if base else ()), *probes], description)

    def _base(self, fields: dict[str, Node], path: str) -> Scanner | None:
        """The built-in scanner this one adds to."""
        if "extends" not in fields:
            return None
        name = self.filled_text(fields["extends"], join(path, "extends")).strip()
        if name not in self._builtin:
            known = ", ".join(self._builtin)
            self.fault(fields["extends"], join(path, "extends"), f'"{name}" is not built in; there are: {known}')
        return self._builtin.get(name)

    def _pattern(self, node: Node, path: str, scanner: str, finding_type: str) -> Probe:
        fields = self.mapping(node, path, _PATTERN)
        name = self._text(fields, "name", path).strip()
        if not name:
            self.fault(node, join(path, "name"), "must be given")
        severity = Severity.HIGH
        if "severity" in fields:
            severity = self.word(fields["severity"], join(path, "severity"), _SEVERITIES, severity)
        compiled = self._compiled(node, fields, path)
        check = None
        if "check" in fields:
            words = dict.fromkeys(CHECKS)
            self.word(fields["check"], join(path, "check"), words, None)
            check = CHECKS.get(self._text(fields, "check", path).strip().lower())
        context = self._context(fields, path, name)
        return Probe(
            scanner=scanner,
            type=finding_type,
            detail=self._text(fields, "description", path).strip() or name,
            severity=severity,
            confidence=self._confidence(fields, path),
            source=compiled.text,
            regexp=compiled.regexp,
            check=check,
            context=None if not context else compile_trusted(_any_word(context)),
        )

    def _compiled(self, node: Node, fields: dict[str, Node], path: str) -> Pattern:
        given = [name for name in ("regex", "pattern") if name in fields]
        if len(given) != 1:
            self.fault(node, join(path, "regex"), "must be given once, as regex or as pattern")
            return compile_pattern("-")
        here = join(path, given[0])
        try:
            return compile_pattern(self.text(fields[given[0]], here))
        except BadPatternError as error:
            self.fault(fields[given[0]], here, f"bad pattern: {error}")
            return compile_pattern("-")

    def _confidence(self, fields: dict[str, Node], path: str) -> float:
        if "confidence" not in fields:
            return DEFAULT_CONFIDENCE
        confidence = self.number(fields["confidence"], join(path, "confidence"))
        if not 0 < confidence <= 1:
            self.fault(fields["confidence"], join(path, "confidence"), "must be above 0 and at most 1")
        return confidence

    def _context(self, fields: dict[str, Node], path: str, name: str) -> tuple[str, ...]:
        """The words of which one must stand near a match; `true` means the words of the pattern's own name."""
        if "context_required" not in fields:
            return ()
        node, here = fields["context_required"], join(path, "context_required")
        if not isinstance(node, Scalar):
            return self.texts(node, here)
        if node.is_null or not (node.plain and node.text.lower() in _TRUTHS):
            self.fault(node, here, "must be true, false, or a list of words")
            return ()
        return tuple(filter(None, re.split(r"[^\w]+|_", name))) if _TRUTHS[node.text.lower()] else ()

    def _text(self, fields: dict[str, Node], name: str, path: str) -> str:
        return self.optional_text(fields[name], join(path, name)) if name in fields else ""


def _any_word(words: tuple[str, ...]) -> str:
    return "(?i)" + "|".join(
        "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in word) for word in words
    )
