"""What commands share: prompts in files."""

import pytest
from samplesmith.app.commands.options import prompts_in


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
