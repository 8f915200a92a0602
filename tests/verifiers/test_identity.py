import copy
import functools
import json
import subprocess
import sys

import pytest
import torch
from fakes import Brightness, small_classifier
from samplesmith.verifiers import (
    AestheticVerifier,
    CallableVerifier,
    ClassVerifier,
    CLIPVerifier,
    PreferenceVerifier,
    RankEnsemble,
    SelfSupervisedVerifier,
    VLMVerifier,
    load_verifier,
)
from samplesmith.verifiers.identity import describe, told_apart
from torch import nn


def images(n=3):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def classifier():
    return small_classifier()


@pytest.mark.parametrize("name", ["emoji-clip", "emoji-aesthetic", "emoji-detector", "fashion-classifier"])
def test_a_verifier_loaded_twice_is_the_same_as_json(name):
    one, two = load_verifier(name).identity(), load_verifier(name).identity()
    assert one == two == json.loads(json.dumps(one, allow_nan=False))
    assert one["name"] == name
    assert "sha256:" in json.dumps(one)


def test_scoring_and_moving_leave_the_identity_alone(emoji_clip):
    before = emoji_clip.identity()
    emoji_clip(images(), "a cat on pink")
    assert emoji_clip.to("cpu").identity() == before
    counting = Brightness()
    before = counting.identity()
    counting(images(), "x")
    assert counting.identity() == before


def test_one_changed_weight_is_another_verifier(emoji_clip, classifier):
    for of, module in (
        (lambda m: CLIPVerifier(m, emoji_clip.tokenizer), emoji_clip.model),
        (ClassVerifier, classifier),
        (lambda m: SelfSupervisedVerifier(m.features), classifier),
        (lambda m: CallableVerifier(lambda pictures, prompts: m(pictures)), classifier),
        (lambda m: PreferenceVerifier(CLIPVerifier(m, emoji_clip.tokenizer)), emoji_clip.model),
    ):
        changed = copy.deepcopy(module)
        with torch.no_grad():
            next(changed.parameters()).view(-1)[0] += 1e-3
        assert of(module).identity() != of(changed).identity()
        assert of(module).identity() == of(copy.deepcopy(module)).identity()


def test_another_activation_between_equal_weights_is_another_verifier():
    assert describe(nn.Sequential(nn.Linear(1, 1, device="meta"), nn.GELU())) != describe(
        nn.Sequential(nn.Linear(1, 1, device="meta"), nn.ReLU())
    )


def test_settings_are_part_of_it(emoji_clip):
    def vlm(**options):
        return VLMVerifier(**{"base_url": "http://localhost:8000/v1", "model": "m", **options})

    changes = [
        {"base_url": "http://localhost:8001/v1"},
        {"model": "n"},
        {"question": "Is it a cat?"},
        {"highest": 5.0},
        {"structured": False},
        {"temperature": None},
        {"name": "another"},
    ]
    seen = [json.dumps(vlm(**change).identity()) for change in [{}, *changes]]
    assert len(set(seen)) == len(seen)
    assert vlm(api_key="sk-secret", timeout=5, retries=1, concurrency=1).identity() == vlm().identity()
    assert "sk-secret" not in json.dumps(vlm(api_key="sk-secret").identity())
    assert Brightness(factor=2.0).identity() != Brightness().identity()
    features = emoji_clip.image_features
    assert SelfSupervisedVerifier(features, preview_at=0.5).identity() != SelfSupervisedVerifier(features).identity()
    with torch.random.fork_rng():
        heads = [nn.Sequential(nn.Linear(128, 1)) for _ in range(2)]
    assert AestheticVerifier(emoji_clip, heads[0]).identity() != AestheticVerifier(emoji_clip, heads[1]).identity()


def test_another_tokenizer_is_another_verifier(emoji_clip):
    other = CLIPVerifier(emoji_clip.model, lambda texts: emoji_clip.tokenizer([text[:1] for text in texts]))
    assert other.identity() != CLIPVerifier(emoji_clip.model, emoji_clip.tokenizer).identity()


def test_functions_are_known_by_their_code_and_what_they_close_over():
    def power(exponent):
        return lambda pictures, prompts: pictures.mean((1, 2, 3)) ** exponent

    def named(pictures, prompts, exponent=2):
        return pictures.mean((1, 2, 3)) ** exponent

    class Power:
        def __init__(self, exponent):
            self.exponent = exponent
            self.calls = 0

        def __call__(self, pictures, prompts):
            self.calls += 1
            return pictures.mean((1, 2, 3)) ** self.exponent

    def partial(exponent):
        return functools.partial(named, exponent=exponent)

    for made in (power, Power, partial):
        one, two, other = (CallableVerifier(made(exponent), "f") for exponent in (2, 2, 3))
        one(images(), "x")
        assert one.identity() == two.identity()
        assert one.identity() != other.identity()
    assert CallableVerifier(power(2), "named").identity() != CallableVerifier(named).identity()


@pytest.mark.slow
def test_it_is_equal_in_another_process_and_free_of_addresses():
    program = (
        "import json; from samplesmith.verifiers import CallableVerifier;"
        "print(json.dumps(CallableVerifier(lambda x, p: [k in {'a', 'b', 'c'} for k in p], 'f').identity()))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment(seed)
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1
    assert "0x" not in said.pop()


def _environment(hash_seed):
    import os

    return os.environ | {"PYTHONHASHSEED": hash_seed}


def test_what_holds_itself_ends():
    def f(pictures, prompts):
        return f

    own = []
    own.append(own)
    assert json.dumps(CallableVerifier(f).identity())
    assert describe(own) == ["itself"]


def test_composites_are_their_parts_and_weights():
    a, b = Brightness("a"), Brightness("b", factor=2.0)
    assert (a + b).identity() == (Brightness("a") + Brightness("b", factor=2.0)).identity()
    assert (a + 0.5 * b).identity() != (a + b).identity()
    assert (a + Brightness("b", factor=3.0)).identity() != (a + b).identity()
    assert RankEnsemble([a, b]).identity() != RankEnsemble([a, b], weights=[2, 1]).identity()
    assert json.dumps(RankEnsemble([a + b, b]).identity())


def test_parts_of_one_name_keep_their_own_scores():
    bright, dark = Brightness("clip"), Brightness("clip", factor=-2.0)
    total = bright + dark
    assert total.name == "clip + clip#2"
    scores = total.evaluate(images(), "x")
    assert list(scores) == ["clip + clip#2", "clip", "clip#2"] == list(total.score_names)
    assert torch.allclose(scores["clip#2"], -2 * scores["clip"])
    assert torch.allclose(scores[total.name], -scores["clip"])
    assert torch.equal(total(images(), "x"), scores[total.name])
    ranks = RankEnsemble([bright, dark], weights=[1, 2])
    assert ranks.name == "rank(clip, clip#2)"
    scores = ranks.evaluate(images(), "x")
    assert list(scores) == ["clip", "clip#2"] == list(ranks.score_names)
    assert ranks.select(scores).argmax() == scores["clip#2"].argmax()


def test_a_sum_within_an_ensemble_is_told_from_its_neighbour():
    ensemble = RankEnsemble([Brightness("a") + Brightness("b"), Brightness("b", factor=-1.0)])
    scores = ensemble.evaluate(images(), "x")
    assert list(scores) == ["a + b", "a", "b", "b#2"] == list(ensemble.score_names)
    assert torch.equal(scores["b#2"], -scores["b"])


def test_names_of_guide_and_judge():
    guide, judge = Brightness("clip"), Brightness("clip", factor=-1.0)
    assert told_apart([guide, judge]) == [{"clip": "clip"}, {"clip": "clip#2"}]
    assert told_apart([guide, guide]) == [{"clip": "clip"}, {"clip": "clip#2"}]
    taken = told_apart([guide, Brightness("clip#2"), judge])
    assert taken == [{"clip": "clip"}, {"clip#2": "clip#2"}, {"clip": "clip#3"}]
    assert told_apart([guide + Brightness("b"), Brightness("b")])[1] == {"b": "b#2"}


def test_a_sum_of_one_part_has_a_name_of_its_own():
    alone = 1 * Brightness("a")
    assert list(alone.evaluate(images(), "x")) == ["1 * a", "a"]
