"""Fixtures of the runtime's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority in the test's directory."""
    return Authority(tmp_path)


@pytest.fixture
def another_authority(tmp_path: Path) -> Callable[[], Authority]:
    """Makes an authority nobody trusts."""
    return lambda: Authority(tmp_path, "other-ca")
