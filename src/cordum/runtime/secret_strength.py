"""Whether a secret could be guessed (spec-auth section 1)."""

import math
from collections import Counter
from typing import Final

API_KEY_LENGTH: Final = 32  # characters, at least
PASSWORD_LENGTH: Final = 12  # characters, at least
_BITS_PER_CHARACTER: Final = 3.0  # Shannon entropy, at least
_CLASSES: Final = 2  # of lower case, upper case, digits, others
_BANNED: Final = (
    "cordum",
    "admin",
    "password",
    "changeme",
    "12345",
    "qwerty",
    "letmein",
    "welcome",
    "default",
    "secret",
)


def weakness(secret: str, least_length: int) -> str | None:
    """What is wrong with a secret, in words that do not tell it; None when it will do."""
    if len(secret) < least_length:
        return f"too short: {len(secret)} characters, {least_length} at least"
    lowered = secret.lower()
    for word in _BANNED:
        if word in lowered:
            return f'contains "{word}"'
    classes = sum(
        (
            any(char.islower() for char in secret),
            any(char.isupper() for char in secret),
            any(char.isdigit() for char in secret),
            any(not char.isalnum() for char in secret),
        )
    )
    if classes < _CLASSES:
        return "only one kind of characters"
    if _entropy(secret) < _BITS_PER_CHARACTER:
        return "too few different characters"
    return None


def _entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    length = len(text)
    return -sum(count / length * math.log2(count / length) for count in Counter(text).values())
