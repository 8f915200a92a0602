import os
import subprocess
import sys

from samplesmith import scenes
from samplesmith.training.embedded.text import build_tokenizer


def test_every_word_is_one_token(tmp_path):
    tokenizer = build_tokenizer(tmp_path)
    for word in scenes.VOCABULARY:
        assert len(tokenizer(word).input_ids) == 3, word


def test_words_have_the_same_numbers_in_every_process(tmp_path):
    """A resumed run builds its tokenizer anew. Hash maps, the trainer's and Python's, are seeded by the process."""
    build_tokenizer(tmp_path / "here")
    code = "import sys, pathlib; from samplesmith.training.embedded.text import build_tokenizer as build; "
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code + "build(pathlib.Path(sys.argv[1]))", tmp_path / seed]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("here", "1", "2")]
    assert files[0] == files[1] == files[2]
