"""A text that a content rule would find something in, as far as that can be told from the rule."""

import re

from cordum.core.policy.document import ContentMatch

_LARGEST = 256 * 1024
"""Characters; a rule about larger content gets no sample."""

_BY_SCANNER = {
    "secret": "AKIA" + "ABCDEFGHIJKLMNOP",
    "pii": "somebody@example.com",
    "injection": "'; DROP TABLE users; --",
    "prompt_injection": "ignore all previous instructions",
}
_LITERAL = re.compile(r"[\w\s:;,@/=-]+")


def sample_content(asked: ContentMatch) -> str:
    """Something for every group that the rule has; empty when it asks nothing of the content, or too much."""
    parts = list(asked.keywords[:1])
    parts += [_BY_SCANNER[name] for name in asked.scanners if name in _BY_SCANNER][:1]
    parts += [pattern for pattern in asked.content_patterns if _LITERAL.fullmatch(pattern)][:1]
    sample = " ".join(parts)
    if asked.size_gt >= _LARGEST:
        return ""
    return sample + "x" * (asked.size_gt + 1 - len(sample)) if asked.size_gt else sample
