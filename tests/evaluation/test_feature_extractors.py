"""Features by name: what a file of weights may do, and what the names give."""

import shutil

import pytest
import torch
from safetensors.torch import save_file
from samplesmith import assets
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.models.fashion_classifier import FashionClassifier


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file in torch-fidelity's form, of random weights in half precision."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *args: None)
        state = module.FeatureExtractorInceptionV3("inception", ["2048"]).state_dict()
    file = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, file)
    return file


def test_inception_from_a_file(inception_weights, tmp_path):
    name, features = load_features(inception_weights=inception_weights)
    state = torch.load(inception_weights)
    assert name == "inception"
    torch.testing.assert_close(features.extractor.fc.weight, state["fc.weight"].float())
    grey = pictures(2, 1, 24, 24)
    found = extract_features(grey, features)
    assert found.shape == (2, 2048)
    # The same pictures in colour and in 8 bits are the same to it, and other pictures are not.
    torch.testing.assert_close(found, extract_features((grey * 255).round().byte().expand(-1, 3, -1, -1), features))
    assert not torch.allclose(found[0], found[1])

    save_file(state, tmp_path / "weights.safetensors")
    again = load_features("inception", tmp_path / "weights.safetensors")[1]
    torch.testing.assert_close(found, extract_features(grey, again))


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w').close()",)


def test_a_file_of_weights_runs_no_code(tmp_path):
    torch.save({"fc.weight": Payload(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil.pth is no file of bare tensors"):
        load_features(inception_weights=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_bad_files_of_weights(tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    for name in ("torn.pth", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"nothing")
    for file, message in {
        "none.pth": "no file .*none.pth",
        "other.pth": "holds no weights of the Inception of FID",
        "tensor.pth": "holds no weights by name",
        "torn.pth": "is no file of bare tensors",
        "torn.safetensors": "is no file of bare tensors",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_features(inception_weights=tmp_path / file)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("no features are named; give one of emoji-clip", []),
        ("Inception needs a file of weights", ["inception"]),
        ("unknown features 'emoji-sd3'; give one of emoji-clip", ["emoji-sd3"]),
        ("the features are 'emoji-clip'; leave one out", ["emoji-clip", "weights.pth"]),
    ],
)
def test_bad_names_of_features(message, arguments):
    with pytest.raises(ValueError, match=message):
        load_features(*arguments)


def test_features_of_a_shipped_model_and_of_a_folder():
    images = pictures(3, 1, 32, 32)
    name, features = load_features("emoji-clip")
    found = extract_features(images, features)
    assert (name, len(found)) == ("emoji-clip", 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(found, extract_features(images, load_features(assets.path("emoji-clip"))[1]))


def test_features_of_a_classifier_in_a_folder(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FashionClassifier(width=4).eval()
    model.save_pretrained(tmp_path / "mine")
    images = pictures(5, 1, 28, 28)
    name, features = load_features(tmp_path / "mine")
    assert name == "mine"
    torch.testing.assert_close(extract_features(images, features), extract_features(images, model.features))
    with pytest.raises(ValueError, match="holds the model AutoencoderKL, which has no features"):
        load_features(assets.path("emoji-sd3") / "vae")


@pytest.mark.parametrize("shipped", ["emoji-clip", "fashion-classifier"])
@pytest.mark.parametrize("data", [b"version https://git-lfs.github.com/spec/v1\n", b"nonsense", b""])
def test_spoiled_weights_are_one_sentence(tmp_path, shipped, data):
    folder = shutil.copytree(assets.path(shipped), tmp_path / "model")
    for file in folder.glob("*.safetensors"):
        file.write_bytes(data)
    with pytest.raises(ValueError, match=str(folder)) as raised:
        load_features(folder)
    assert "\n" not in str(raised.value)
