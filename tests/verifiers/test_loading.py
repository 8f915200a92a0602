import pytest
from samplesmith import assets
from samplesmith.verifiers import AestheticVerifier, CLIPVerifier, DetectorVerifier, load_verifier


@pytest.mark.parametrize(
    ("name", "cls"),
    [("emoji-clip", CLIPVerifier), ("emoji-detector", DetectorVerifier), ("emoji-aesthetic", AestheticVerifier)],
)
def test_shipped_verifiers_load_under_their_name(name, cls):
    verifier = load_verifier(name)
    assert type(verifier) is cls
    assert verifier.name == name


def test_a_folder_of_an_open_clip_model():
    assert isinstance(load_verifier(assets.path("emoji-clip")), CLIPVerifier)


@pytest.mark.parametrize("name", ["emoji-clop", "clip:ViT-B-32", "", "emoji-sd3", "a:b:c:d:e"])
def test_unknown_names_are_one_sentence(name):
    with pytest.raises(ValueError, match="unknown verifier"):
        load_verifier(name)
