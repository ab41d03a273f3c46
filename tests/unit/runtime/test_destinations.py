"""Where a process may be led by somebody else's URL (spec-auth 2.7)."""

import ipaddress

import httpx
import pytest

from cordum.core.addresses import is_public
from cordum.runtime.destinations import Destinations, RefusedDestinationError

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "192.0.0.170",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
]
METADATA = ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "64:ff9b::a9fe:a9fe"]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
    Destinations().check_address(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_are_not_public_however_they_are_written(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    with pytest.raises(RefusedDestinationError):
        Destinations().check_address(address)


@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_are_never_dialled(text: str) -> None:
    with pytest.raises(RefusedDestinationError, match="metadata"):
        Destinations(allow_private=True).check_address(ipaddress.ip_address(text))


def test_private_addresses_can_be_allowed() -> None:
    for text in ("10.0.0.1", "::1", "192.168.1.1", "127.0.0.1"):
        Destinations(allow_private=True).check_address(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://policies.example/x",
        "ftp://policies.example/x",
        "file:///etc/passwd",
        "https:///x",
        "https://user:pass@policies.example/x",
        "https://localhost/x",
        "https://LOCALHOST./x",
        "https://a.localhost/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://169.254.169.254/latest",
        "https://metadata.google.internal/x",
        "https://Metadata.Google.Internal./x",
    ],
)
def test_urls_that_are_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(RefusedDestinationError):
        Destinations().check_url(httpx.URL(url))


def test_a_host_stands_for_its_sub_domains_and_for_nothing_that_ends_alike() -> None:
    allowed = Destinations(hosts=("example.com",))
    for good in ("https://example.com/x", "https://a.b.example.com/x", "https://EXAMPLE.com./x"):
        allowed.check_url(httpx.URL(good))
    for bad in ("https://badexample.com/x", "https://example.com.evil.net/x", "https://evil.net/example.com"):
        with pytest.raises(RefusedDestinationError, match="not among"):
            allowed.check_url(httpx.URL(bad))
