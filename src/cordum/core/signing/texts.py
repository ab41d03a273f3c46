"""Bytes written as text."""

import base64
import binascii


def decodings(text: bytes) -> list[bytes]:
    """What the text stands for as hex and as base64 (either alphabet, padded or not); none, one or both."""
    found: list[bytes] = []
    compact = b"".join(text.split())
    try:
        found.append(bytes.fromhex(compact.decode("ascii")))
    except (ValueError, UnicodeDecodeError):
        pass
    padded = compact.rstrip(b"=")
    padded += b"=" * (-len(padded) % 4)
    try:
        found.append(base64.b64decode(padded.replace(b"-", b"+").replace(b"_", b"/"), validate=True))
    except (binascii.Error, ValueError):
        pass
    return found
