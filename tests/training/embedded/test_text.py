import os
import subprocess
import sys

import torch
from samplesmith import scenes
from samplesmith.training.embedded import text
from samplesmith.training.embedded.text import build_tokenizer, extend_tokenizer, extended_embedding


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


def test_old_words_keep_their_embeddings_and_digits_begin_as_their_number_words(tmp_path, monkeypatch):
    """Weights of a smaller vocabulary go on with embeddings for the words that it lacks."""
    with monkeypatch.context() as before:
        few = [word for word in scenes.VOCABULARY if word != "with" and not word.isdecimal()]
        before.setattr(text, "VOCABULARY", few)
        before.setattr(text.string, "digits", "")
        old = build_tokenizer(tmp_path / "old")
    new = extend_tokenizer(tmp_path / "old", tmp_path / "new")
    weight = torch.randn(len(old), 8, generator=torch.Generator().manual_seed(0))
    rows = extended_embedding(weight, old, new, torch.Generator().manual_seed(1))
    assert rows.shape == (len(new), 8)
    of_word = {word: rows[new(word).input_ids[1]] for word in ("fish", "five", "on", "5", "1", "a", "with")}
    for word in ("fish", "five", "on"):
        assert torch.equal(of_word[word], weight[old(word).input_ids[1]])
    assert torch.equal(of_word["5"], of_word["five"])
    assert torch.equal(of_word["1"], of_word["a"])
    assert not any(torch.equal(of_word["with"], row) for row in weight)
