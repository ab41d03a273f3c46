"""What a pattern cannot say: whether digits are a card number or a social security number."""

from collections.abc import Callable

Check = Callable[[bytes], int]
"""How many bytes of the match are really meant, from its start; 0 when it only looked like one."""

_CARD_LENGTHS = range(13, 20)
_DIGITS = frozenset(b"0123456789")


def luhn(match: bytes) -> int:
    """The longest card number the match begins with: 13 to 19 digits whose Luhn checksum is right.

    The digits after it may be the start of something else, so shorter readings that end where a group of digits ends
    are tried as well.
    """
    digits = [byte - 48 for byte in match if byte in _DIGITS]
    end, count = len(match), len(digits)
    while count >= _CARD_LENGTHS.start:
        if count in _CARD_LENGTHS and _checksum_fits(digits[:count]):
            return end
        end = max(match.rfind(b" ", 0, end), match.rfind(b"-", 0, end))
        if end < 0:
            return 0
        count = sum(byte in _DIGITS for byte in match[:end])
    return 0


def _checksum_fits(digits: list[int]) -> bool:
    total = sum(digits[-1::-2])
    for digit in digits[-2::-2]:
        total += digit * 2 - 9 if digit > 4 else digit * 2
    return total % 10 == 0


def social_security(match: bytes) -> int:
    """Numbers that were never given out are none: area 000 or 666, group 00, serial 0000."""
    digits = bytes(byte for byte in match if byte in _DIGITS)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return 0 if area in (b"000", b"666") or group == b"00" or serial == b"0000" else len(match)


CHECKS: dict[str, Check] = {"luhn": luhn, "ssn": social_security}
"""By the name the scanners file uses."""
