"""What commands share: prompts in files, and groups of options."""

import inspect

import pytest
import typer
from samplesmith.app.commands.options import CALL, PLACE, CallOptions, Place, grouped, prompts_in
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xef\xbb\xbfa cat\r\na dog\r\n", ["a cat", "a dog"]),
        (b"# three\n#1 dad mug\n#\n  # note\n#tags\n", ["#1 dad mug", "#tags"]),
        ("a caf\u00e9\u2028at night\x85\n\n".encode(), ["a caf\u00e9\u2028at night"]),
        (b"a cat\ra dog", ["a cat", "a dog"]),
    ],
)
def test_prompts_in_a_file(tmp_path, data, found):
    (tmp_path / "p.txt").write_bytes(data)
    assert prompts_in(tmp_path / "p.txt") == found


@pytest.mark.parametrize("data", ["a cat\n".encode("utf-16"), b"a caf\xe9\n", "a cat\n".encode("utf-16-le")])
def test_files_that_are_not_in_utf_8(fails, tmp_path, data):
    (tmp_path / "p.txt").write_bytes(data)
    fails("UTF-8; save it in this encoding", "search", "--prompts", "p.txt")


def test_a_group_of_options_is_its_fields():
    """In the place of the group, on the command line and for whoever calls the command."""
    seen = []

    @grouped
    def draw(prompt: str, call: CallOptions = CALL, place: Place = PLACE, seed: int = 0) -> None:
        """Draw it."""
        seen.append((prompt, call, place, seed))

    names = [*CallOptions.__dataclass_fields__, *Place.__dataclass_fields__]
    assert list(inspect.signature(draw).parameters) == ["prompt", *names, "seed"]
    app = typer.Typer()
    app.command()(draw)
    given = ["a cat", "--height", "32", "--argument", "steps_offset=2", "--dtype", "float16", "--seed", "3"]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert CliRunner().invoke(app, ["a dog"]).exit_code == 0
    (_, call, place, seed), last = seen
    assert call.given == {"height": 32, "steps_offset": 2}
    assert (vars(place), seed) == ({"dtype": "float16", "device": None, "offload": False}, 3)
    assert last == ("a dog", CALL, PLACE, 0)
    assert CALL.given == {}
    with pytest.raises(ValueError, match="the argument height is given twice"):
        CallOptions(height=32, argument=["height=64"]).given  # noqa: B018 (the access raises)
