"""What the batcher repeats, and what it never does."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from cordum.store import scripts
from cordum.store.batch import Batcher
from cordum.store.errors import AnswerLostError, NotRunError, StoreReplyError, StoreUnavailableError
from cordum.store.link import Command, Outcome, UnknownScriptError

Script = Callable[[list[Command]], list[Outcome]]


class ScriptedLink:
    """A link that answers each batch as told, the last answer for ever."""

    def __init__(self, *answers: Script) -> None:
        self._answers = list(answers)
        self.batches: list[list[Command]] = []

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        self.batches.append(list(commands))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(list(commands))

    async def aclose(self) -> None: ...


def all_are(outcome: Outcome) -> Script:
    return lambda commands: [outcome] * len(commands)


async def ask(link: ScriptedLink, *commands: Command, timeout: float = 1.0) -> list[Outcome]:
    batcher = Batcher(link, name="test", timeout=timeout)
    try:
        return list(await batcher.submit(commands))
    finally:
        await batcher.aclose()


async def test_units_of_one_turn_share_a_batch_and_keep_their_order() -> None:
    link = ScriptedLink(lambda commands: [str(command[1]) for command in commands])
    batcher = Batcher(link, name="test", timeout=1)
    answers = await asyncio.gather(
        *(batcher.submit([("GET", f"{unit}-a"), ("GET", f"{unit}-b")]) for unit in range(10))
    )
    assert answers == [[f"{unit}-a", f"{unit}-b"] for unit in range(10)]
    assert len(link.batches) == batcher.round_trips == 1
    await batcher.aclose()


async def test_what_was_not_run_is_sent_again() -> None:
    link = ScriptedLink(all_are(NotRunError("LOADING")), all_are("OK"))
    assert await ask(link, ("SET", "k", "v")) == ["OK"]
    assert link.batches == [[("SET", "k", "v")]] * 2


async def test_a_read_whose_answer_was_lost_is_sent_again() -> None:
    link = ScriptedLink(all_are(AnswerLostError()), all_are("v"))
    assert await ask(link, ("GET", "k")) == ["v"]


@pytest.mark.parametrize(
    "command", [("SET", "k", "v"), ("EVALSHA", "sha", 1, "k"), ("ZADD", "k", 1, "m"), ("RPUSH", "k", "v")]
)
async def test_a_write_whose_answer_was_lost_is_not(command: Command) -> None:
    link = ScriptedLink(all_are(AnswerLostError()), all_are("OK"))
    with pytest.raises(StoreUnavailableError):
        await ask(link, command)
    assert len(link.batches) == 1


async def test_an_unknown_script_is_spelled_out() -> None:
    link = ScriptedLink(all_are(UnknownScriptError()), all_are(1))
    sha = scripts.RELEASE.sha
    assert await ask(link, ("EVALSHA", sha, 1, "k", "token")) == [1]
    assert link.batches[1] == [("EVAL", scripts.RELEASE.text, 1, "k", "token")]


async def test_one_units_fault_is_not_its_neighbours() -> None:
    link = ScriptedLink(lambda commands: [StoreReplyError("WRONGTYPE") if c[1] == "bad" else "v" for c in commands])
    batcher = Batcher(link, name="test", timeout=1)
    good, bad = await asyncio.gather(
        batcher.submit([("GET", "good")]), batcher.submit([("GET", "bad")]), return_exceptions=True
    )
    assert good == ["v"]
    assert isinstance(bad, StoreReplyError)
    await batcher.aclose()


async def test_repeating_ends_with_the_callers_time() -> None:
    link = ScriptedLink(all_are(NotRunError("down")))
    started = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailableError, match="down"):
        await ask(link, ("GET", "k"), timeout=0.6)
    assert asyncio.get_running_loop().time() - started < 1.0
    assert 2 < len(link.batches) < 20
