import secrets

import pytest

from cordum.runtime.secret_strength import weakness


def test_random_keys_will_do() -> None:
    for _ in range(50):
        key = secrets.token_hex(32)
        # A random key may contain 12345; that one in ten thousand is refused too.
        assert weakness(key, 32) is None or "12345" in key


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "too short: 0 characters, 12 at least"),
        ("Xy7", "too short"),
        ("MyPassword-9182", 'contains "password"'),
        ("cordum-8f2Kx91Qz", 'contains "cordum"'),
        ("abcdefghijklmnop", "only one kind of characters"),
        ("aB1aB1aB1aB1aB1", "too few different characters"),
    ],
)
def test_weak_secrets_are_told_without_repeating_them(secret: str, words: str) -> None:
    fault = weakness(secret, 12)
    assert fault is not None
    assert words in fault
    assert not secret or secret not in fault
