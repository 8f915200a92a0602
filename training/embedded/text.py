"""The word-level tokenizer of the emoji models, as CLIPTokenizer files, and the text encoder of emoji-sd3."""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from ...scenes import VOCABULARY

CONTEXT_LENGTH = 14
"""Tokens of a caption: the longest has ten words."""
_PRIVATE_USE = 0xE000
"""Unicode's first code point without a meaning."""


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Byte-pair merges until every word is one token; the end-of-text id is the last, where CLIP pools.

    Raises:
        RuntimeError: where a word of the vocabulary is not one token.
    """
    letters = list(string.ascii_lowercase)
    # The trainer numbers what `end_of_word_suffix` makes in the order of a hash map, another one in every process: a
    # resumed run would read other ids. So the last letter of a word is a character of its own here.
    last = {letter: chr(_PRIVATE_USE + i) for i, letter in enumerate(letters)}
    suffixed = {character: letter + "</w>" for letter, character in last.items()}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=5000, min_frequency=1, initial_alphabet=[*letters, *suffixed], show_progress=False
    )
    words = sorted({*VOCABULARY, *letters})
    tokenizer.train_from_iterator([" ".join(word[:-1] + last[word[-1]] for word in words)], trainer)
    model = json.loads(tokenizer.to_str())["model"]

    def written(token: str) -> str:
        return "".join(suffixed.get(character, character) for character in token)

    tokens = [written(token) for token in sorted(model["vocab"], key=model["vocab"].get)]
    tokens += [letter + "</w>" for letter in letters if letter + "</w>" not in tokens]  # so that nothing is unknown
    tokens += ["<|startoftext|>", "<|endoftext|>"]

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").unlink(missing_ok=True)  # else it is read in place of the new vocabulary
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    merges = [" ".join(map(written, merge.split() if isinstance(merge, str) else merge)) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    clip_tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT_LENGTH)
    clip_tokenizer.save_pretrained(folder)
    clip_tokenizer = CLIPTokenizer.from_pretrained(folder)
    if split := [word for word in VOCABULARY if len(clip_tokenizer(word).input_ids) != 3]:
        raise RuntimeError(f"not one token each: {split}")
    return clip_tokenizer


def copy_tokenizer(source: Path, folder: Path) -> CLIPTokenizer:
    """For weights that are trained on: only their own tokenizer gives words the numbers that they know."""
    tokenizer = CLIPTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_text_encoder(tokenizer: CLIPTokenizer, width: int = 128, layers: int = 3) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]):
    """(batch, CONTEXT_LENGTH)."""
    return tokenizer(
        captions, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
