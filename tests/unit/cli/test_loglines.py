"""Log lines as people read them."""

import json

from cordum.cli.loglines import readable


def test_a_json_line_becomes_time_level_message_and_what_else_it_says() -> None:
    line = {"time": "2026-11-23T17:31:38.001Z", "level": "warn", "msg": "stream gone", "service": "s", "stream": "X"}
    assert readable(json.dumps(line)) == "17:31:38.001 warn stream gone stream=X"


def test_of_a_traceback_the_last_line() -> None:
    line = {"msg": "crashed", "stack": "Traceback ...\n  File ...\nValueError: no"}
    assert readable(json.dumps(line)) == "crashed ValueError: no"


def test_other_lines_stay_and_long_ones_are_cut() -> None:
    assert readable("plain {") == "plain {"
    assert readable("[1, 2]") == "[1, 2]"
    assert len(readable("x" * 10_000)) == 400
