import uuid

from cordum.runtime.ids import Ids, RandomIds, SequentialIds


def test_random_ids_are_version_4_uuids_and_differ() -> None:
    ids: Ids = RandomIds()
    made = {ids.new() for _ in range(1000)}
    assert len(made) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_tokens_have_the_length_asked_for_and_differ() -> None:
    ids = RandomIds()
    assert len(ids.token(32)) == 64
    assert ids.token(16) != ids.token(16)


def test_sequential_ids_can_be_foretold() -> None:
    ids: Ids = SequentialIds()
    assert ids.new() == "00000000-0000-4000-8000-000000000001"
    assert ids.new() == "00000000-0000-4000-8000-000000000002"
    assert ids.token(4) == "00000003"
    assert uuid.UUID(ids.new())
