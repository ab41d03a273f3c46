"""The scanners file: what it may say, and how it is refused (spec-safety section 10, Scanners file; W6)."""

from pathlib import Path

import pytest

from cordum.core.output.engine import ContentTest
from cordum.core.output.finding import Finding, Severity
from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.output.scanners_file import ScannersFileError

SHIPPED = Path(__file__).parents[3] / "config" / "output_scanners.yaml"


def find(scanners: ScannerSet, name: str, text: str) -> tuple[Finding, ...]:
    return ContentTest.compile(scanners=[name], scanner_set=scanners).find(text.encode()) or ()


def load(text: str) -> ScannerSet:
    return ScannerSet.load(text.encode())


def faults(text: str) -> list[str]:
    with pytest.raises(ScannersFileError) as caught:
        load(text)
    return [str(fault) for fault in caught.value.faults]


class TestMeaning:
    def test_a_new_scanner_stands_beside_the_built_in_ones(self) -> None:
        scanners = load(
            """
scanners:
  badge:
    finding_type: badge_number
    description: numbers of badges
    patterns:
      - {name: badge, pattern: 'B-[0-9]{4}', severity: low, confidence: 0.5}
"""
        )

        (finding,) = find(scanners, "badge", "see B-1234")
        assert (finding.type, finding.scanner, finding.detail) == ("badge_number", "badge", "badge")
        assert (finding.severity, finding.confidence) == (Severity.LOW, 0.5)
        assert set(scanners.names) == {*SCANNERS.names, "badge"}

    def test_one_of_the_same_name_replaces_the_built_in_one_and_keeps_its_type(self) -> None:
        scanners = load("scanners: {secret: {patterns: [{name: ours, regex: 'OURS-[0-9]+'}]}}")

        assert find(scanners, "secret", "AKIAABCDEFGHIJKLMNOP") == ()
        assert find(scanners, "secret_leak", "OURS-1")[0].type == "secret_leak"
        assert find(SCANNERS, "secret", "AKIAABCDEFGHIJKLMNOP") != ()

    def test_extends_keeps_what_the_built_in_one_looks_for(self) -> None:
        scanners = load("scanners: {secret: {extends: secret, patterns: [{name: ours, regex: 'OURS-[0-9]+'}]}}")

        assert len(find(scanners, "secret", "AKIAABCDEFGHIJKLMNOP OURS-1")) == 2

    @pytest.mark.parametrize(("text", "found"), [("4111111111111111", True), ("4111111111111112", False)])
    def test_luhn_may_be_asked_for(self, text: str, found: bool) -> None:
        scanners = load("scanners: {card: {patterns: [{name: card, regex: '[0-9]{16}', check: luhn}]}}")

        assert bool(find(scanners, "card", text)) is found

    @pytest.mark.parametrize(
        ("context", "text", "found"),
        [
            ("true", "bank account: 12345678", True),
            ("true", "order: 12345678", False),
            ("false", "order: 12345678", True),
            ("[iban, konto]", "12345678 is the KONTO", True),
            ("[iban, konto]", "account 12345678", False),
            ("[account]", "account" + " " * 200 + "12345678", False),
        ],
    )
    def test_a_word_may_have_to_stand_near(self, context: str, text: str, found: bool) -> None:
        scanners = load(
            "scanners: {bank: {patterns: [{name: bank_account, regex: '[0-9]{8}', context_required: WORDS}]}}".replace(
                "WORDS", context
            )
        )

        assert bool(find(scanners, "bank", text)) is found


class TestShipped:
    SCANNERS = ScannerSet.load(SHIPPED.read_bytes())

    @pytest.mark.parametrize(
        ("text", "detail"),
        [
            ("xoxb-123456789012-abcdef", "Slack token"),
            ("sk-abcdefghijklmnopqrstuvwx", "sk- API key"),
            ("sk-proj-abc_def-ghijklmnopqrstuvwx", "sk- API key"),
            ("sk_live_abcdefghijklmnop1234", "Stripe key"),
            ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "JSON web token"),
            ("postgres://app:hunter2@db/x", "password in a database URL"),
            ("rediss://:hunter2@cache:6379", "password in a broker or cache URL"),
            ("Authorization: Bearer abcdef.123456-xyz", "bearer token"),
            ("private: " + "QUJD" * 20, "long base64 value"),
            ("AKIAABCDEFGHIJKLMNOP", "AWS access key id"),
        ],
    )
    def test_more_credentials_are_found(self, text: str, detail: str) -> None:
        assert detail in [finding.detail for finding in find(self.SCANNERS, "secret", text)]

    @pytest.mark.parametrize(
        "text", ["postgres://db/x", "image: " + "QUJD" * 20, "task-sk-abc", "eyJhbGciOiJI.abc.def", "ask_live"]
    )
    def test_what_is_no_credential_is_left_alone(self, text: str) -> None:
        assert find(self.SCANNERS, "secret", text) == ()

    def test_personal_data_keeps_its_checks(self) -> None:
        assert find(self.SCANNERS, "pii", "123456789") == ()


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "the document is empty"),
            ("scanners: [", "not valid YAML"),
            ("rules: []", 'line 1, column 1: rules: unknown key "rules"'),
            ("version: 1", "scanners: must be given"),
            ("scanners: {Secret!: {patterns: [{name: a, regex: a}]}}", "not a usable name"),
            ("scanners: {keyword: {patterns: [{name: a, regex: a}]}}", "not a usable name"),
            ("scanners: {a: {patterns: []}}", "must list at least one pattern"),
            ("scanners: {a: {extends: b}}", '"b" is not built in; there are: secret, pii'),
            ("scanners: {a: {patterns: [{regex: a}]}}", "patterns[0].name: must be given"),
            ("scanners: {a: {patterns: [{name: a}]}}", "must be given once"),
            ("scanners: {a: {patterns: [{name: a, regex: a, pattern: a}]}}", "must be given once"),
            ("scanners: {a: {patterns: [{name: a, regex: '('}]}}", "bad pattern: missing )"),
            ("scanners: {a: {patterns: [{name: a, regex: '(a+)+'}]}}", "bad pattern: a repeated group"),
            ("scanners: {a: {patterns: [{name: a, regex: 'a*'}]}}", "matches the empty text"),
            ("scanners: {a: {patterns: [{name: a, regex: a, severity: bad}]}}", '"bad" is not one of: low'),
            ("scanners: {a: {patterns: [{name: a, regex: a, confidence: 0}]}}", "above 0 and at most 1"),
            ("scanners: {a: {patterns: [{name: a, regex: a, confidence: .nan}]}}", "must be a number"),
            ("scanners: {a: {patterns: [{name: a, regex: a, check: lunh}]}}", 'did you mean "luhn"'),
            ("scanners: {a: {patterns: [{name: a, regex: a, context_required: soon}]}}", "list of words"),
            ("scanners: {a: {patterns: [{name: a, regex: a, weight: 1}]}}", 'unknown key "weight"'),
        ],
    )
    def test_a_mistake_refuses_the_file_and_says_where(self, text: str, fault: str) -> None:
        assert any(fault in line for line in faults(text)), faults(text)

    def test_the_line_is_told(self) -> None:
        (fault,) = faults("scanners:\n  a:\n    patterns:\n      - name: x\n        regex: '['\n")

        assert fault.startswith("line 5, column 16: scanners.a.patterns[0].regex: bad pattern")

    def test_too_much_of_anything_is_refused(self) -> None:
        many = "scanners:\n" + "".join(f"  s{n}: {{patterns: [{{name: a, regex: a}}]}}\n" for n in range(65))

        assert any("65 scanners; at most 64" in line for line in faults(many))
        assert any("more than" in line for line in faults("#" * (1024 * 1024 + 1)))
