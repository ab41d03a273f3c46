"""Feeds made-up patterns and contents to the scanner; run by `test_scan_fuzz.py` in a process of its own.

`python scan_target.py pattern|content|scanners [libFuzzer options]`
"""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["cordum.core.output"]):
    from cordum.core.output.engine import ContentTest, Subject
    from cordum.core.output.patterns import BadPatternError, compile_pattern
    from cordum.core.output.redaction import REPLACEMENT, redact_ranges
    from cordum.core.output.scanners import ScannerSet
    from cordum.core.output.scanners_file import ScannersFileError
    from cordum.core.output.scope import Scope, ScopeTest

SCANNERS = ContentTest.compile(scanners=["secret", "pii", "injection", "prompt_injection"])
REDACTING = ContentTest.compile(scanners=["secret", "pii"])
SECRET = b"AKIAABCDEFGHIJKLMNOP"
SCOPE = ScopeTest(Scope(instruction_path="a.b", items_path="c", allowed_categories={"x": ("y",)}))


def pattern(data: bytes) -> None:
    """A pattern is refused with a reason, or finds a planted text beside another one as it does alone."""
    text = data[:300].decode(errors="replace")
    try:
        compiled = compile_pattern(text)
    except BadPatternError as error:
        if not error.reason:
            raise AssertionError("refused without a reason") from error
        return
    content = data[300:] + b" " + text.encode() + b" "
    alone = ContentTest.compile([compiled]).ranges(content)
    paired = ContentTest.compile([compiled, "ZZ[0-9]{9}Z"]).ranges(content)
    if alone is not None and paired is not None and not set(alone) <= set(paired):
        raise AssertionError("another pattern hides what this one finds")


def content(data: bytes) -> None:
    """Whatever stands around it, a secret is found; places are within the text; what is redacted is UTF-8."""
    planted = data[: len(data) // 2] + SECRET + data[len(data) // 2 :]
    SCANNERS.find(data)
    SCOPE.violation(data)
    subject = Subject(planted)
    ranges = REDACTING.ranges(subject)
    at = len(data) // 2
    if ranges is None or not any(start < at + 20 and end > at for start, end in ranges):
        raise AssertionError("a planted secret was not found")
    for finding in REDACTING.find(subject) or ():
        if finding.offset < 0 or finding.length < 1 or finding.offset + finding.length > len(planted):
            raise AssertionError("a place outside the text")
    redacted = redact_ranges(planted, ranges)
    redacted.decode()
    if SECRET in redacted or REPLACEMENT not in redacted:
        raise AssertionError("a secret was left")


def scanners(data: bytes) -> None:
    """A scanners file is read, or refused with its faults."""
    try:
        ScannerSet.load(data)
    except ScannersFileError as error:
        if not error.faults:
            raise AssertionError("refused without a fault") from error


TARGETS = {"pattern": pattern, "content": content, "scanners": scanners}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
