import asyncio
import json
import logging as stdlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from cordum.runtime import logging
from cordum.runtime.redact import MAX_TEXT
from cordum.runtime.settings import GatewaySettings, load

CANARY = "canary-4f6b2d"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Puts back what `setup` changes in the whole process."""
    root, output = stdlib.getLogger(), logging._output
    handlers, level, before = root.handlers[:], root.level, dict(output.__dict__)
    yield
    root.handlers[:], root.level = handlers, level
    output.__dict__.update(before)
    stdlib.captureWarnings(capture=False)


def set_up(**env: str) -> logging.Logger:
    logging.setup("cordum-test", load(GatewaySettings, {"CORDUM_INSTANCE_ID": "i-1"} | env))
    return logging.get_logger("cordum.some.module")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.seed("S84")
def test_a_line_is_one_json_object_with_time_level_message_service_and_instance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up().info("job dispatched", event="job_dispatched", job_id="j-1", attempt=2)
    (line,) = lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "msg": "job dispatched",
        "event": "job_dispatched",
        "service": "cordum-test",
        "instance": "i-1",
        "logger": "some.module",
        "job_id": "j-1",
        "attempt": 2,
    }


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up(CORDUM_LOG_LEVEL="warn")
    log.debug("no")
    log.info("no")
    log.warning("yes")
    log.error("yes, too")
    assert [(line["level"], line["msg"]) for line in lines(capsys)] == [("warn", "yes"), ("error", "yes, too")]
    assert not log.enabled(logging.INFO)
    assert log.enabled(logging.ERROR)


def test_fields_are_bound_to_a_logger_or_to_a_stretch_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up().bind(job_id="j-1")
    with logging.context(trace_id="t-1"):
        log.info("inside")
    log.info("outside")
    inside, outside = lines(capsys)
    assert (inside["job_id"], inside["trace_id"]) == ("j-1", "t-1")
    assert outside["job_id"] == "j-1"
    assert "trace_id" not in outside


async def test_context_follows_the_task_that_set_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up()

    async def work(name: str) -> None:
        with logging.context(trace_id=name):
            await asyncio.sleep(0)
            log.info("working", name=name)

    await asyncio.gather(work("a"), work("b"))
    assert all(line["trace_id"] == line["name"] for line in lines(capsys))


def test_an_exception_is_one_line_with_its_text_and_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up()
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("it failed", event="failed")
    (line,) = lines(capsys)
    assert (line["level"], line["event"], line["error"]) == ("error", "failed", "ValueError: boom")
    assert line["stack"].startswith("Traceback")


@pytest.mark.seed("S85")
@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_never_reach_the_log(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up(
        CORDUM_LOG_FORMAT=form,
        CORDUM_LOG_LEVEL="debug",
        CORDUM_API_KEY=CANARY,
        CORDUM_API_KEYS="acme:second-key:viewer, third-key",
        REDIS_URL="redis://user:in-the-url@redis:6379",
    )
    logging.keep_secret(["from-a-file"])
    for name in ("password", "user_passwd", "client_secret", "auth_token", "X-API-Key", "api_key", "credentials"):
        log.info("a request", **{name: "hush-hush"})
    log.info("with keys", note=f"key {CANARY}", more="second-key or third-key", deep={"a": [{"b": "from-a-file"}]})
    log.info("headers", headers={"x-api-key": "hush-hush", "Authorization": "hush-hush", "accept": "json"})
    log.info("connecting", url="redis://user:in-the-url@redis:6379", urls=["nats://a:hush-hush@b"], auth="in-the-url")
    log.info("long", url="x" * 200 + " nats://user:hush-hush@host")
    log.info("password is in-the-url", made=msgspec.Raw(CANARY.encode()))
    try:
        raise ConnectionError(f"redis://:hush-hush@redis refused {CANARY}")
    except ConnectionError as error:
        log.exception("failed", cause=error)
        log.warning("failed", reason=error)
    log.bind(token="hush-hush").info("bound")
    with logging.context(session_token="hush-hush"):
        log.info("in context")
    stdlib.getLogger("redis").error("cannot connect with %s to redis://u:hush-hush@h", CANARY)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 17
    for secret in (CANARY, "hush-hush", "second-key", "third-key", "in-the-url", "from-a-file"):
        assert secret not in out
        assert secret not in err
    assert "[redacted]" in out


def test_whatever_is_logged_the_line_stays_one_bounded_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up()

    class Odd:
        def __str__(self) -> str:
            return "odd\nthing"

    loop: dict[str, object] = {}
    loop["self"] = loop
    log.info(
        "line\nbreak \x1b[31m",
        half="\ud800",
        big=2**80,
        nan=float("nan"),
        odd=Odd(),
        data=b"\xff\xfe",
        loop=loop,
        items=list(range(1000)),
        text="x" * 100_000,
        none=None,
        keys={1: "one", (2,): "two"},
    )
    out, _ = capsys.readouterr()
    assert out.count("\n") == 1
    line = json.loads(out)
    assert len(line["text"]) < MAX_TEXT + 50
    assert len(line["items"]) == 64
    assert line["data"] == "(2 bytes)"
    assert len(out) < 20_000


def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    library = stdlib.getLogger("uvicorn.error")
    library.info("chatter")
    library.warning("careful: %s", "this")
    try:
        raise OSError("disk")
    except OSError:
        library.exception("broken")
    assert [(line["level"], line["logger"], line["msg"], line.get("error")) for line in lines(capsys)] == [
        ("warn", "uvicorn.error", "careful: this", None),
        ("error", "uvicorn.error", "broken", "OSError: disk"),
    ]


def test_text_is_one_readable_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up(CORDUM_LOG_FORMAT="text")
    log.warning("no worker\n takes\x1b[31m this", topic="job.x", why="two words", empty="", count=3)
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("failed")
    out, _ = capsys.readouterr()
    first, second = out.splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} WARN  cordum-test: no worker  takes \[31m this  "
        r'topic=job\.x why="two words" empty="" count=3',
        first,
    )
    assert "ERROR cordum-test: failed" in second
    assert "ValueError: boom" in second


def test_logging_works_before_it_is_set_up() -> None:
    code = "from cordum.runtime import logging; logging.get_logger('x').info('early', event='e', n=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["msg"] == "early"


def test_a_closed_stdout_does_not_stop_the_work() -> None:
    code = (
        "import sys, os; from cordum.runtime import logging\n"
        "log = logging.get_logger('x'); os.close(1); log.info('into the void'); sys.stderr.write('went on')\n"
        "sys.stderr.flush(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "went on"


def test_captured_logs_see_message_event_and_fields() -> None:
    log = logging.get_logger("cordum.x")
    with capture_logs() as captured:
        log.info("hello", event="greeting", who="you")
    assert captured == [{"logger": "x", "event": "greeting", "who": "you", "msg": "hello", "log_level": "info"}]
