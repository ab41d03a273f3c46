"""The scanners that are always there: credentials, personal data, injected code, injected orders (spec-safety 10).

A scanner here is a table; `scanners.py` makes it work. The expressions are ours and trusted, so that the limits for
what operators write do not apply.
"""

import msgspec

from cordum.core.output.finding import PII, Severity

_CRITICAL, _HIGH, _MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM


class BuiltinPattern(msgspec.Struct, frozen=True):
    """What one scanner looks for. `detail` is what a report says; `check` names a test of `checks.CHECKS`."""

    detail: str
    regex: str
    severity: Severity = _HIGH
    confidence: float = 0.9
    check: str = ""


class BuiltinScanner(msgspec.Struct, frozen=True):
    """A scanner's name, the type of its findings, and what it looks for."""

    name: str
    type: str
    patterns: tuple[BuiltinPattern, ...]


# Between a name and its value: a closing quote, blanks, an assignment. Quotes may be escaped, as in JSON within JSON.
_ASSIGNED = r"""["'\\]{0,4}\s{0,8}(?:=>|:=|==?|:)\s{0,8}"""
_QUOTE = r"""\\{0,3}["'`]"""
# Between words: blanks of every script and characters that cannot be seen, which hide a phrase from a plain search.
_GAP = r"[\s\pZ\p{Cf}_*-]+"

_SECRET = (
    BuiltinPattern("AWS access key id", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}", _CRITICAL, 0.99),
    BuiltinPattern(
        "AWS secret access key",
        r"(?i)(?:aws|amazon)[a-z_. -]{0,16}(?:secret|private)[a-z_. -]{0,16}key"
        + _ASSIGNED
        + r"""["'\\]{0,4}[a-z0-9/+]{40}={0,2}""",
        _CRITICAL,
        0.95,
    ),
    BuiltinPattern(
        "private key",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[A-Za-z0-9+/=,:.\s\\-]*?-----END (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:(?:\s|\\+[rn])*[A-Za-z0-9+/=]{24,})*)",
        _CRITICAL,
        0.99,
    ),
    BuiltinPattern(
        "GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})", _CRITICAL, 0.98
    ),
    BuiltinPattern(
        "credential in an assignment",
        r"(?i)(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|api[_. -]?key|access[_. -]?key|auth[_. -]?key"
        r"|private[_. -]?key|encryption[_. -]?key|signing[_. -]?key)s?" + _ASSIGNED + _QUOTE + r"""[^"'`\s]{8,}""",
    ),
)

_PERSONAL = (
    BuiltinPattern("email address", r"[\pL\pN][\pL\pN._%+'-]*@(?:[\pL\pN-]+\.)+\pL{2,}"),
    BuiltinPattern("social security number", r"\b(?:\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4})\b", check="ssn"),
    BuiltinPattern(
        "phone number",
        r"(?:\+1[-. ]?|\b1[-. ])?(?:\([2-9]\d{2}\)[-. ]?|\b[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}\b|\+1[2-9]\d{9}\b",
    ),
    BuiltinPattern(
        "payment card number", r"\b(?:[2-9](?:[ -]?\d){12,18}|1\d{3}[ -]?\d{5}[ -]?\d{6})\b", _HIGH, 0.95, "luhn"
    ),
)

_ORDERS = r"(?:instructions?|directions?|directives?|commands?|prompts?|rules?|guidelines?|context|messages?)"
_EARLIER = r"(?:previous|prior|preceding|earlier|above|foregoing|former|existing|original|initial)"
_ALL = rf"(?:(?:all|any|every|each|of|the|your|my|our|these|those|that|this|to){_GAP}){{0,4}}"

_DIRECTIVES = (
    BuiltinPattern(
        "ignore previous instructions",
        rf"(?i)\bignor(?:e|ing){_GAP}{_ALL}{_EARLIER}(?:{_GAP}(?:system|user|safety|and|given))*{_GAP}{_ORDERS}"
        rf"|\bignor(?:e|ing){_GAP}{_ALL}{_ORDERS}{_GAP}(?:above|before|you{_GAP}(?:were|have{_GAP}been){_GAP}given)"
        rf"|\bignor(?:e|ing){_GAP}(?:everything|anything|all){_GAP}(?:above|before|that{_GAP}came{_GAP}before)",
    ),
    BuiltinPattern(
        "disregard the rules",
        rf"(?i)\b(?:disregard|forget|discard|override|overrule|do{_GAP}not{_GAP}(?:follow|obey))"
        rf"{_GAP}{_ALL}(?:{_EARLIER}{_GAP})?(?:(?:system|safety|security){_GAP})?{_ORDERS}\b"
        rf"|\b(?:disregard|forget){_GAP}(?:everything|all|anything){_GAP}"
        rf"(?:above|before|you{_GAP}(?:know|were{_GAP}told|have{_GAP}been{_GAP}told))",
    ),
    BuiltinPattern(
        "change of role",
        rf"(?i)\byou{_GAP}are{_GAP}(?:now|no{_GAP}longer|from{_GAP}now{_GAP}on){_GAP}(?:an?{_GAP}|the{_GAP}|in{_GAP})?"
        rf"(?:{_GAP}|[\pL\pN]+{_GAP}){{0,3}}"
        r"(?:unrestricted|unfiltered|uncensored|unbound|unlimited|jailbroken|evil|malicious|root|admin(?:istrator)?"
        rf"|dan\b|free{_GAP}(?:of|from)|bound{_GAP}by|restricted|limited|developer{_GAP}mode)"
        rf"|\b(?:pretend|act|behave|respond){_GAP}(?:as{_GAP}if|as{_GAP}though|like|that|as|to{_GAP}be)"
        rf"{_GAP}(?:you{_GAP}(?:are|were|have){_GAP})?(?:an?{_GAP}|no{_GAP})?"
        r"(?:unrestricted|unfiltered|uncensored|jailbroken|evil|rules|restrictions|limits|filters|guidelines|dan\b)",
    ),
    BuiltinPattern(
        "new instructions",
        rf"(?i)\b(?:your|the|here{_GAP}are{_GAP}(?:your|the)){_GAP}(?:new|real|actual|true|updated)"
        rf"{_GAP}(?:system{_GAP})?(?:instructions?|task|goal|objective|directives?|orders?|prompt)(?:{_GAP})?(?:is\b|are\b|:)"
        rf"|\bfrom{_GAP}now{_GAP}on,?(?:{_GAP})?you{_GAP}(?:will|must|shall|are{_GAP}to|only)\b",
    ),
    BuiltinPattern(
        "disclosure of the system prompt",
        r"(?i)\b(?:reveal|show|print|repeat|output|display|disclose|leak|dump|expose|recite|give|tell)"
        rf"{_GAP}(?:(?:me|us|back|verbatim|out){_GAP}){{0,2}}{_ALL}"
        rf"(?:(?:hidden|secret|initial|original|full|entire|exact|internal|confidential){_GAP}){{0,3}}"
        rf"(?:system|developer|hidden|initial|secret){_GAP}(?:prompt|message|instructions?)\b",
    ),
    BuiltinPattern(
        "bypass of safety measures",
        r"(?i)\b(?:bypass|disable|circumvent|evade|turn(?:ing)?[\s\pZ]+off|switch(?:ing)?[\s\pZ]+off|deactivate|skip)"
        rf"{_GAP}{_ALL}(?:(?:content|safety|security|ethical|moderation|built{_GAP}in|policy){_GAP}){{0,3}}"
        r"(?:filters?|guardrails?|restrictions?|safeguards?|safety|moderation|censorship|polic(?:y|ies)|protections?)\b"
        rf"|\b(?:do{_GAP}anything{_GAP}now|(?:enable|enter|activate|switch{_GAP}to){_GAP}(?:the{_GAP})?"
        rf"(?:developer|debug|god|dan|jailbreak|unrestricted|maintenance|sudo){_GAP}mode)\b|\bjailbreak{_GAP}(?:mode|prompt)",
    ),
    BuiltinPattern(
        "forged turn of the conversation",
        r"(?i)<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|begin_of_text)\|>"
        r"|\[/?INST\]|<</?SYS>>|</?(?:system|assistant)(?:[_-](?:prompt|message|instructions?))?\s*>"
        r"|(?m:^|\\n|\n)[\s>#*]{0,8}(?:###|\*\*)\s*(?:system|assistant|new instructions?)(?:\s+(?:prompt|message))?"
        r"\s*(?:\*\*)?:",
    ),
    BuiltinPattern(
        "concealment from the user",
        rf"(?i)\b(?:do{_GAP}not|don.?.?.?t|never){_GAP}(?:ever{_GAP})?(?:tell|inform|notify|alert|warn|mention|reveal|show)"
        rf"{_GAP}(?:(?:this|it|that|any{_GAP}of{_GAP}this){_GAP}to{_GAP})?(?:the{_GAP}|any{_GAP}|your{_GAP})?"
        rf"(?:users?|humans?|operators?|owners?|anyone|anybody)\b"
        rf"|\bwithout{_GAP}(?:telling|informing|notifying|alerting|asking){_GAP}(?:the{_GAP}|any{_GAP}|your{_GAP})?"
        r"(?:users?|humans?|operators?|owners?|anyone|anybody)\b",
    ),
)

_CODE = (
    BuiltinPattern(
        "SQL injection",
        r"(?i)\bunion(?:\s|/\*[^*]{0,64}\*/|\+|%20){1,8}(?:all(?:\s|\+|%20){1,8})?select\b"
        r"|\b(?:drop|truncate|alter)\s+(?:table|database|schema|user)\s+(?:if\s+exists\s+)?[\"'`\[]?\w"
        r"|['\"]\s*(?:;|\)\s*;)\s*(?:drop|delete|insert|update|alter|truncate|exec|shutdown|create|grant)\b"
        r"|;\s*(?:drop|truncate|alter)\s+(?:table|database)\b"
        r"|['\"]?\s*\b(?:or|and)\b\s*(?:['\"]?\s*1\s*['\"]?\s*=\s*['\"]?\s*1\b|['\"]\w*['\"]\s*=\s*['\"]\w*|true\s*--)"
        r"|\bdelete\s+from\s+[\w.\"`]+\s*(?:;|--|where\s+1\s*=\s*1)"
        r"|\bxp_cmdshell\b|\bwaitfor\s+delay\s*['\"]|\binto\s+(?:out|dump)file\s*['\"]"
        r"|\b(?:sleep|benchmark|pg_sleep)\s*\(\s*\d+\s*[,)].{0,8}--",
    ),
    BuiltinPattern(
        "shell command injection",
        r"(?i)(?:;|&&|\|\|?|\x60|\$\(|\\n|\n)\s{0,16}(?:sudo\s+)?(?:rm\s+-[a-z]*[rf]|mkfs|dd\s+if=|nc\s+-|ncat\s+-"
        r"|(?:ba|z|k|da)?sh\s+-[ci]|chmod\s+(?:-r\s+)?[0-7]{3,4}\s|chown\s+-r\s|wget\s+-?|curl\s+-?|python3?\s+-c\s"
        r"|perl\s+-e\s|cat\s+/etc/(?:passwd|shadow))"
        r"|\brm\s+-(?:[a-z]*r[a-z]*f|[a-z]*f[a-z]*r)[a-z]*\s+(?:--no-preserve-root\s+)?[/~*$.]"
        r"|\b(?:curl|wget)\s[^\n|;&]{1,256}\|\s*(?:sudo\s+)?(?:(?:ba|z|da)?sh|python3?|perl)\b"
        r"|/dev/(?:tcp|udp)/[\w.]+/\d|\$\(\s*(?:curl|wget|cat|id|whoami|bash|sh|rm|nc)\b|\x60\s*(?:curl|wget|rm|nc|bash)\s"
        r"|:\(\)\s*\{\s*:\s*\|\s*:\s*&\s*\}|>\s*/dev/sd[a-z]\b",
        _HIGH,
        0.92,
    ),
    BuiltinPattern("injected instruction", "|".join(f"(?:{known.regex})" for known in _DIRECTIVES[:2]), _MEDIUM, 0.8),
)

BUILTIN = (
    BuiltinScanner("secret", "secret_leak", _SECRET),
    BuiltinScanner("pii", PII, _PERSONAL),
    BuiltinScanner("injection", "code_injection", _CODE),
    BuiltinScanner("prompt_injection", "prompt_injection", _DIRECTIVES),
)
