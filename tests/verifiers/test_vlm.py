import base64
import io
import json
import re
import warnings

import numpy as np
import pytest
import torch
from chat_server import ChatServer, completion, fails, says
from PIL import Image
from samplesmith.verifiers import VerifierUnavailable, VLMVerifier, load_verifier
from samplesmith.verifiers.vlm import KEY_VARIABLE, read_score

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_proxy_and_no_key(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def greys(*levels):
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous() / 255


def shown(asked) -> np.ndarray:
    """The image of a request."""
    url = asked["messages"][0]["content"][1]["image_url"]["url"]
    head, data = url.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def level_as_score(asked):
    return 200, {}, completion(json.dumps({"score": int(shown(asked)[0, 0, 0]) / 10}))


def test_each_image_gets_the_score_of_its_own_answer():
    levels = list(range(0, 100, 9))
    with ChatServer(level_as_score) as server:
        scores = VLMVerifier(server.url, "org/judge-7b", concurrency=3)(greys(*levels), "a cat")
    assert scores.tolist() == pytest.approx([level / 10 for level in levels])
    assert scores.dtype == torch.float32


def test_what_is_asked():
    image = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with ChatServer(says('{"score": 3}')) as server:
        verifier = VLMVerifier(server.url, "judge", question="Is it {prompt}?", highest=5)
        verifier(image, ["a {curly} cat"])
        VLMVerifier(server.url, "judge", structured=False, temperature=None)(image, "x")
    asked, plain = server.requests
    assert asked["model"] == "judge"
    assert asked["temperature"] == 0
    text = asked["messages"][0]["content"][0]["text"]
    assert text.startswith("Is it a {curly} cat?\nAnswer with JSON alone")
    assert "from 0 (worst) to 5 (best)" in text
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["score"]
    assert np.array_equal(shown(asked), (image[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert not {"response_format", "temperature"} & set(plain)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"score": 7}', 7),
        ('```json\n{"score": 7.5}\n```', 7.5),
        ('I see {two} cats. {"score": 2} no, rather {"score": "4.5"}', 4.5),
        ('{"result": {"score": -1e0}, "why": "flaws"}', -1),
        ('{"score": true}', None),
        ('{"score": null} {"score": [1]} {"score": "high"}', None),
        ('{"score": "7/10"}', 7),
        ('{"score": "7 / 10.0"}', 7),
        ('{"score": "4/5"}', None),
        ("{'score': 6}", 6),
        ("{'score': '6.5/10'}", 6.5),
        ('{"score": 8,}', 8),
        ('{\n  "score": 8,  // clear\n}', 8),
        ('{"score": 8 # good\n}', 8),
        ('{"reason": "it is a "fine" cat", "score": 9}', 9),
        ("{\u201cscore\u201d: 5}", 5),
        ("first {'score': 2,} then {'score': 3,}", 3),
        ('{"score": 8, "why": "else {\'score\': 3}"}', 8),
        ("{'score': 6", None),
        ("{'score': 6.", None),
        ("{'score': None}", None),
        ("7.5", 7.5),
        (" **8/10**\n", 8),
        ('"6"', 6),
        ("9.", 9),
        ("9/5", None),
        ("about 7", None),
        ("7 or 8", None),
        ('{"score": NaN} {"score": 1e999}', None),
        ("seven", None),
        ('{"score": 7', None),
        ('{"a":' * 3000, None),
        ("", None),
    ],
)
def test_scores_are_read_from_whatever_is_around_them(text, score):
    assert read_score(text, 10.0) == score


def test_a_share_needs_its_own_scale():
    assert read_score('{"score": "4/5"}', 5.0) == 4
    assert read_score('{"score": "4/5"}') is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says("a lovely cat"), "its answer holds no score: 'a lovely cat'"),
        (says('{"score": 11}'), "its score 11 is not from 0 to 10"),
        (lambda _: (200, {}, "{"), "answered with no chat completion"),
        (fails(500), "answered HTTP 500"),
        (fails(400, '{"error": {"message": "filtered"}}'), "answered HTTP 400: 'filtered'"),
    ],
)
def test_a_failed_image_loses_only_itself(answer, reason):
    def of_one(asked):
        return answer(asked) if shown(asked)[0, 0, 0] == 20 else level_as_score(asked)

    with ChatServer(of_one) as server, pytest.warns(UserWarning, match=re.escape(reason)) as caught:
        scores = VLMVerifier(server.url, "judge", retries=1, backoff=0)(greys(10, 20, 30), "a cat")
    assert scores[1].isnan()
    assert scores[[0, 2]].tolist() == [1, 3]
    assert [str(one.message).startswith("judge gave no score to an image of 'a cat': ") for one in caught] == [True]


def test_500_then_success():
    with ChatServer(fails(500), says('{"score": 4}')) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert VLMVerifier(server.url, "judge", backoff=0)(greys(10), "x").tolist() == [4]


def test_a_refused_key_stops_everything_without_being_named():
    with ChatServer(fails(401, f'{{"error": {{"message": "bad key {KEY}"}}}}')) as server:
        verifier = VLMVerifier(server.url, "judge", KEY)
        with pytest.raises(VerifierUnavailable, match=r"refuses the API key \(HTTP 401\)$") as caught:
            verifier(greys(*range(40)), "x")
    assert KEY not in str(caught.value) + repr(verifier) + verifier.name
    assert len(server.requests) < 40


def test_the_key_comes_from_the_argument_or_its_own_variable(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "from-environment")
    monkeypatch.setenv("OTHER", "from-other")
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-you")
    with ChatServer(says('{"score": 4}')) as server:
        for options in ({}, {"api_key": KEY}, {"api_key": ""}, {"key_variable": "OTHER"}):
            VLMVerifier(server.url, "judge", **options)(greys(10), "x")
        monkeypatch.delenv(KEY_VARIABLE)
        VLMVerifier(server.url, "judge")(greys(10), "x")
    sent = [headers.get("Authorization") for headers in server.headers]
    assert sent == ["Bearer from-environment", f"Bearer {KEY}", None, "Bearer from-other", None]


def test_by_name():
    with ChatServer(says('{"score": 4}')) as server:
        verifier = load_verifier(f"vlm:@org/qwen:7b@{server.url}")
        assert verifier.name == "qwen:7b"
        assert verifier(greys(10), "x").tolist() == [4]
    assert server.requests[0]["model"] == "@org/qwen:7b"


def test_options_by_name():
    with ChatServer(says("I say 'score'... {'score': '3/5',}")) as server:
        verifier = load_verifier(f"vlm:judge@{server.url},response_format=no,temperature=none,highest=5,timeout=7")
        assert verifier(greys(10), "x").tolist() == [3]
        assert load_verifier(f"vlm:judge@{server.url},temperature=0.5,highest=5")(greys(10), "x").tolist() == [3]
    plain, warm = server.requests
    assert not {"response_format", "temperature"} & set(plain)
    assert warm["temperature"] == 0.5
    assert "response_format" in warm
    assert verifier.endpoint.timeout == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("colour=red", "vlm has no setting 'colour'; known: question, lowest"),
        ("api_key=x", "vlm has no setting 'api_key'"),
        ("temperature=warm", "vlm has temperature=warm; give a number or none"),
        ("response_format=maybe", "vlm has response_format=maybe; give yes or no"),
        ("response_format=[1]", "vlm has response_format=.1.; give yes or no"),
        ("retries", "the settings of vlm, 'retries', cannot be read: write settings as key=value"),
        (",", "the settings of vlm, ',', cannot be read"),
    ],
)
def test_unknown_settings_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        load_verifier(f"vlm:judge@http://localhost:1/v1,{settings}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "needs the name of a model"),
        ({"lowest": 5, "highest": 5}, "the scale from 5 to 5 is empty"),
        ({"concurrency": 0}, "at least one request at a time"),
        ({"base_url": "localhost:8000"}, "must read http"),
        ({"retries": -1}, "retries=-1"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        VLMVerifier(**{"base_url": "http://localhost:8000/v1", "model": "judge", **options})
