"""Documents fetched from a real HTTPS server: what is dialled, where redirects may lead, and every bound."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.https import HttpsServer, response

from cordum.runtime.destinations import Destinations, RefusedDestinationError
from cordum.runtime.fetch import FetchError, fetch

NEAR = Destinations(allow_private=True)
NAME = "policies.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


async def get(url: str, authority: Authority, where: Destinations = NEAR, **bounds: Any) -> bytes:
    return await fetch(url, where, **{"timeout": 5.0, "max_bytes": 1000, "ca": authority.ca, **bounds})


def server(authority: Authority, answer: Callable[[str], Any], name: str = NAME) -> HttpsServer:
    return HttpsServer(answer, *authority.issue(name))


Resolve = Callable[..., list[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Makes `policies.example` mean these addresses, look-up after look-up; the list of look-ups comes back."""

    def install(*answers: list[str]) -> list[str]:
        real, left, asked = socket.getaddrinfo, list(answers), []

        def look_up(host: Any, port: Any, *more: Any, **options: Any) -> Any:
            if host != NAME:
                return real(host, port, *more, **options)
            asked.append(host)
            addresses = left.pop(0) if len(left) > 1 else left[0]
            return [entry for address in addresses for entry in real(address, port, *more, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return install


async def test_a_document_under_the_name_it_was_asked_by(authority: Authority, resolver: Resolve) -> None:
    asked = resolver(["127.0.0.1"])
    async with server(authority, lambda path: response(body=b"text of " + path.encode())) as running:
        assert await get(running.url("/policy.yaml", NAME), authority) == b"text of /policy.yaml"
        assert (running.hosts, running.names) == ([f"{NAME}:{running.port}"], [NAME])
    assert asked == [NAME]


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(authority: Authority, resolver: Resolve) -> None:
    """A name that means something else the second time it is looked up: it is not looked up a second time."""
    asked = resolver(["127.0.0.1"], ["127.0.0.9"])
    async with server(authority, lambda path: response(body=b"checked")) as running:
        assert await get(running.url("/", NAME), authority) == b"checked"
    assert len(asked) == 1


async def test_a_name_that_leads_inside_is_not_dialled(authority: Authority, resolver: Resolve) -> None:
    async with server(authority, lambda path: response(body=b"secret")) as running:
        for addresses in (["127.0.0.1"], ["::ffff:127.0.0.1"], ["8.8.8.8", "127.0.0.1"]):
            resolver(addresses)
            with pytest.raises(RefusedDestinationError, match="not a public address"):
                await get(running.url("/", NAME), authority, Destinations())
        assert running.paths == [] and running.names == []


async def test_a_certificate_for_another_name_or_of_another_authority_is_not_believed(
    authority: Authority, resolver: Resolve, tmp_path: Path
) -> None:
    resolver(["127.0.0.1"])
    async with server(authority, lambda path: response(body=b"x"), name="else.example") as running:
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(running.url("/", NAME), authority)
    async with server(authority, lambda path: response(body=b"x")) as running:
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(running.url("/", NAME), Authority(tmp_path / "other", "other-ca"))


async def test_the_second_address_of_a_name_is_tried_too(authority: Authority, resolver: Resolve) -> None:
    resolver(["127.0.0.77", "127.0.0.1"])
    async with server(authority, lambda path: response(body=b"here")) as running:
        assert await get(running.url("/", NAME), authority) == b"here"


def steps(path: str) -> bytes:
    """/5 leads to /4 … leads to /0, which is the document."""
    number = int(path[1:])
    return response(302, location=f"/{number - 1}") if number else response(body=b"arrived")


async def test_five_redirects_and_not_six(authority: Authority) -> None:
    async with server(authority, steps) as running:
        assert await get(running.url("/5"), authority) == b"arrived"
        with pytest.raises(FetchError, match="more than 5 redirects"):
            await get(running.url("/6"), authority)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/",
        "https://metadata.google.internal/",
        "https://elsewhere.example/",
        "file:///etc/passwd",
        "//user:pass@127.0.0.1/",
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(authority: Authority, target: str) -> None:
    where = Destinations(
        hosts=("127.0.0.1", "169.254.169.254", "metadata.google.internal", "::ffff:169.254.169.254"),
        schemes=("https", "http"),
        allow_private=True,
    )
    async with server(authority, lambda path: response(301, location=target)) as running:
        with pytest.raises(RefusedDestinationError):
            await get(running.url(), authority, where)
        assert len(running.paths) == 1


async def test_a_redirect_from_outside_to_inside_is_refused(authority: Authority, resolver: Resolve) -> None:
    """The first address passes, the second is looked at just as closely."""
    inside = Destinations(hosts=(NAME,), allow_private=True)
    resolver(["127.0.0.1"])
    async with server(authority, lambda path: response(307, location="https://10.0.0.1/")) as running:
        with pytest.raises(RefusedDestinationError, match=r"10\.0\.0\.1 is not among"):
            await get(running.url("/", NAME), authority, inside)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (response(404), "HTTP 404"),
        (response(500, b"x"), "HTTP 500"),
        (response(304), "HTTP 304"),
        (response(302), "HTTP 302"),
        (response(body=b"x" * 1001), "more than 1000 bytes"),
        (
            response(transfer_encoding="chunked", body=b"400\r\n" + b"y" * 1024 + b"\r\n0\r\n\r\n"),
            "more than 1000 bytes",
        ),
        (b"nonsense\r\n\r\n", "Error"),
        (b"", "Error"),
        (response(302, location="https://[bad"), "cannot be resolved"),
    ],
)
async def test_answers_that_are_no_document(authority: Authority, answer: bytes, said: str) -> None:
    async with server(authority, lambda path: answer) as running:
        with pytest.raises(FetchError, match=said):
            await get(running.url(), authority)


async def test_a_server_that_takes_its_time(authority: Authority) -> None:
    async def never(path: str) -> bytes:
        await asyncio.sleep(30)
        return b""

    stuck: list[asyncio.Task[bytes]] = []

    def answer(path: str) -> asyncio.Task[bytes]:
        stuck.append(asyncio.create_task(never(path)))
        return stuck[-1]

    async with server(authority, answer) as running:
        with pytest.raises(FetchError, match=r"no answer within 0\.3 s"):
            await get(running.url(), authority, timeout=0.3)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_nobody_there_and_no_such_name(authority: Authority, free_port: Callable[[], int]) -> None:
    with pytest.raises(FetchError):
        await get(f"https://127.0.0.1:{free_port()}/", authority)
    with pytest.raises(FetchError, match="cannot be resolved"):
        await get("https://nowhere.invalid/", authority)


async def test_plain_http_only_where_it_is_allowed() -> None:
    async with HttpsServer(lambda path: response(body=b"plain")) as running:
        where = Destinations(schemes=("https", "http"), allow_private=True)
        assert await fetch(running.url(), where, timeout=5, max_bytes=100) == b"plain"
        with pytest.raises(RefusedDestinationError, match="only https"):
            await fetch(running.url(), NEAR, timeout=5, max_bytes=100)
