import pytest
from bench.cli import parse
from bench.rows import ALL


def test_rows_are_chosen_and_left_out_by_key() -> None:
    assert [row.goal.key for row in parse(["--only", "health, submit"]).rows] == ["health", "submit"]
    assert len(parse(["--skip", "health"]).rows) == len(ALL) - 1
    assert len(parse([]).rows) == len(ALL)


@pytest.mark.parametrize(
    "arguments",
    [["--only", "speed"], ["--repeat", "0"], ["--seconds", "0"], ["--pid", "gateway"], ["--jobs", "many"]],
)
def test_a_wrong_option_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert arguments[0].lstrip("-") in capsys.readouterr().err or arguments[1] in capsys.readouterr().err


def test_row_keys_are_unique() -> None:
    keys = [row.goal.key for row in ALL]
    assert len(keys) == len(set(keys))
