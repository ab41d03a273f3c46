"""The scanners a policy can name: the built-in ones, and those of the operator's file (spec-safety section 10)."""

from collections.abc import Mapping
from typing import ClassVar

from cordum.core.errors import CordumError
from cordum.core.output.builtin import BUILTIN, BuiltinPattern, BuiltinScanner
from cordum.core.output.checks import CHECKS
from cordum.core.output.patterns import compile_trusted
from cordum.core.output.probes import Probe
from cordum.core.output.scanner import Scanner
from cordum.core.output.scanners_file import read_scanners

KEYWORD = "keyword"
"""Not a scanner of its own: it stands for the keywords a rule gives."""

_ALIASES = {
    "secret_leak": "secret",
    "secrets": "secret",
    "code_injection": "injection",
    "keyword_match": KEYWORD,
    "keywords": KEYWORD,
}


class UnknownScannerError(CordumError):
    """There is no such scanner."""

    code: ClassVar[str] = "unknown_scanner"


class ScannerSet:
    """Scanners by name."""

    def __init__(self, scanners: Mapping[str, Scanner]) -> None:
        self._scanners = dict(scanners)

    @classmethod
    def load(cls, data: bytes) -> "ScannerSet":
        """The built-in scanners, with those of a scanners file added or in their place.

        Raises ScannersFileError with every fault and its line.
        """
        return cls({**SCANNERS._scanners, **read_scanners(data, SCANNERS._scanners)})

    @property
    def names(self) -> tuple[str, ...]:
        """What a rule may name, aliases left out."""
        return (*self._scanners, KEYWORD)

    def aliases(self, name: str) -> str:
        """The scanner's own name for a name a rule uses: trimmed, lower case, other spellings resolved."""
        plain = name.strip().lower()
        return plain if plain in self._scanners else _ALIASES.get(plain, plain)

    def __contains__(self, name: str) -> bool:
        return self.aliases(name) in self.names

    def get(self, name: str) -> Scanner:
        """The scanner of this name or alias. Raises UnknownScannerError, which names those there are."""
        scanner = self._scanners.get(self.aliases(name))
        if scanner is None:
            raise UnknownScannerError(f'unknown scanner "{name}"; there are: {", ".join(self.names)}')
        return scanner


def _probe(scanner: BuiltinScanner, pattern: BuiltinPattern) -> Probe:
    return Probe(
        scanner=scanner.name,
        type=scanner.type,
        detail=pattern.detail,
        severity=pattern.severity,
        confidence=pattern.confidence,
        source=pattern.regex,
        regexp=compile_trusted(pattern.regex),
        check=CHECKS[pattern.check] if pattern.check else None,
    )


SCANNERS = ScannerSet(
    {
        scanner.name: Scanner(scanner.name, scanner.type, [_probe(scanner, pattern) for pattern in scanner.patterns])
        for scanner in BUILTIN
    }
)
"""The built-in scanners."""
