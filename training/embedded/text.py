"""The word-level tokenizer of the emoji models, as CLIPTokenizer files, and the text encoder of their generators."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ...scenes import VOCABULARY
from ...scenes.grammar import DIGITS, NUMBER_WORDS

MARKS = ("<|startoftext|>", "<|endoftext|>")

CONTEXT_LENGTH = 14
"""Tokens of a caption: the longest has eleven words."""
_PRIVATE_USE = 0xE000
"""Unicode's first code point without a meaning."""


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Byte-pair merges until every word is one token; the end-of-text id is the last, where CLIP pools.

    Raises:
        RuntimeError: where a word of the vocabulary is not one token.
    """
    letters = list(string.ascii_lowercase + string.digits)
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
    merges = [(written(first), written(second)) for first, second in map(_pair, model["merges"])]
    return _written(folder, tokens, merges)


def extend_tokenizer(source: Path, folder: Path) -> CLIPTokenizer:
    """The tokenizer of weights that are trained on, with the words that it splits as new tokens.

    Old tokens keep their order; only what marks a text's start and end moves behind the new ones, where CLIP pools. The
    embeddings follow by `extended_embedding`.
    """
    model = json.loads((source / "tokenizer.json").read_text())["model"]
    tokens = [token for token in sorted(model["vocab"], key=model["vocab"].get) if token not in MARKS]
    merges = [_pair(merge) for merge in model["merges"]]
    old = CLIPTokenizer.from_pretrained(source)
    for word in VOCABULARY:
        tokens += [part for part in (*word[:-1], word[-1] + "</w>") if part not in tokens]
        parts = _parts(old, word)
        while len(parts) > 1:  # the last merges of all: they touch no word that is one token by then
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            tokens += [parts[0]] if parts[0] not in tokens else []
    return _written(folder, tokens, merges)


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """What a merge joins; tokenizers write it as a text or as a list."""
    first, second = merge.split() if isinstance(merge, str) else merge
    return first, second


def _parts(tokenizer: CLIPTokenizer, word: str) -> list[str]:
    """What a word is split into; a character that the tokenizer does not know stands for itself."""
    if word.isdecimal():
        return [word + "</w>"]
    return tokenizer.convert_ids_to_tokens(tokenizer(word, add_special_tokens=False).input_ids)


def _written(folder: Path, tokens: list[str], merges: list[tuple[str, str]]) -> CLIPTokenizer:
    """CLIPTokenizer files of these tokens, numbered in their order, and the marks behind them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").unlink(missing_ok=True)  # else it is read in place of the new vocabulary
    numbers = {token: i for i, token in enumerate([*tokens, *MARKS])}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    clip_tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT_LENGTH)
    clip_tokenizer.save_pretrained(folder)
    clip_tokenizer = CLIPTokenizer.from_pretrained(folder)
    if split := [word for word in VOCABULARY if len(clip_tokenizer(word).input_ids) != 3]:
        raise RuntimeError(f"not one token each: {split}")
    return clip_tokenizer


def extended_embedding(weight: Tensor, old: CLIPTokenizer, new: CLIPTokenizer, generator: torch.Generator) -> Tensor:
    """An embedding for more words: old rows are kept, digits start from their number words, the rest is drawn.

    Args:
        weight: of the old tokens, (old tokens, width).
        old, new: tokenizers.
        generator: of the rows that are drawn, with the deviation of the old ones.

    Returns:
        (new tokens, width).
    """
    numbers, kept = old.get_vocab(), new.get_vocab()
    rows = weight.std() * torch.randn(len(kept), weight.shape[1], generator=generator)
    words = {digit: NUMBER_WORDS[count] if count > 1 else "a" for digit, count in DIGITS.items()}
    for token, i in kept.items():
        source = token if token in numbers else words.get(token.removesuffix("</w>"), "") + "</w>"
        if source in numbers:
            rows[i] = weight[numbers[source]]
    return rows


def build_text_encoder(
    tokenizer: CLIPTokenizer, width: int = 128, layers: int = 3, projected: bool = True
) -> CLIPTextModel:
    """A `CLIPTextModelWithProjection`, or a `CLIPTextModel` where nothing reads the projection."""
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(
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


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Ids of captions, (batch, CONTEXT_LENGTH); what is longer is cut."""
    return tokenizer(
        captions, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
