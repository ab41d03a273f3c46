"""How strictly signatures are meant: CORDUM_POLICY_STRICT (spec-safety section 6)."""

from enum import StrEnum


class Strictness(StrEnum):
    """Off: nobody looks. Warn: what is signed must hold, what is not is used with a warning. Enforce: all is signed."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


_WORDS = {
    **dict.fromkeys(("off", "disabled", "none", "false", "0"), Strictness.OFF),
    **dict.fromkeys(("warn", "warning"), Strictness.WARN),
    **dict.fromkeys(("enforce", "strict", "required", "true", "1"), Strictness.ENFORCE),
}


def parse_strictness(text: str) -> Strictness:
    """One of the words and their aliases, in any case.

    Raises:
        ValueError: it is none of them; the message lists them. A typing error must never switch a protection off.
    """
    found = _WORDS.get(text.strip().lower())
    if found is None:
        raise ValueError(f"not one of {', '.join(_WORDS)}")
    return found
