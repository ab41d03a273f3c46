"""What is printed for people."""

import pytest

from cordum.cli import output


def test_text_of_strangers_neither_colours_nor_drives_the_terminal() -> None:
    shown = output.cell("[red]\x1b[2J\x07hello[/red]")
    assert shown.plain == "[red]�[2J�hello[/red]"


def test_values_become_readable() -> None:
    assert output.cell(["a", "b"]).plain == "a, b"
    assert output.cell({"a": 1}).plain == '{"a": 1}'
    assert output.cell(True).plain == "yes" and output.cell(None).plain == ""
    assert str(output.cell("DENY").style) == "red"


def test_a_time_in_microseconds_or_as_text() -> None:
    assert output.moment(1_700_000_000_000_000).startswith("2023-11-1")
    assert output.moment("2026-01-01T00:00:00Z") == "2026-01-01T00:00:00Z"
    assert output.moment(0) == "" and output.moment(None) == ""


def test_an_empty_table_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("A",), [], "nothing here")
    printed = capsys.readouterr()
    assert printed.out == "" and "nothing here" in printed.err
