import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith import scenes
from samplesmith.scenes import PromptError, negatives, parse
from samplesmith.verifiers import Verdict
from samplesmith.verifiers.detector import Sighting, Spot


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def test_real_scenes_are_right(judge):
    images, drawn = scenes.draw_batch(np.random.default_rng(77), 300)
    assert judge(as_tensor(images), [one.scene.caption for one in drawn]).mean() >= 0.99


@pytest.mark.parametrize("how", list(negatives.SPOILERS))
def test_a_malformed_sprite_is_no_object(judge, how):
    rng = np.random.default_rng(78)
    drawn = [scenes.draw(rng, scenes.sample_scene(rng)) for _ in range(60)]
    spoiled = np.stack([negatives.spoil(rng, one, how).image for one in drawn])
    assert judge(as_tensor(spoiled), [one.scene.caption for one in drawn]).mean() <= 0.1


def test_a_wrong_count_background_object_or_order_is_wrong(judge):
    image = scenes.draw(np.random.default_rng(0), parse("two cats left of a dog on blue")).image[None]
    wrong = [
        "a cat left of a dog on blue",
        "two cats left of a dog on pink",
        "two cats left of a frog on blue",
        "a dog left of two cats on blue",
    ]
    x = as_tensor(image)
    assert judge(x, "two cats left of a dog on blue").item() == 1
    assert judge(x.expand(4, -1, -1, -1), wrong).tolist() == [0, 0, 0, 0]


def spots(*places):
    return tuple(Spot(*place) for place in places)


def test_verdict_in_words():
    asked = parse("two stars above a house on blue")
    good = Verdict(asked, Sighting("blue", spots(("star", 20, 20), ("star", 90, 30), ("house", 60, 100))))
    assert good.right
    assert str(good) == "two stars: found 2; a house: found 1; background blue: yes; above: yes"
    bad = Verdict(asked, Sighting("pink", spots(("star", 20, 110), ("house", 60, 100), ("cat", 90, 20))))
    assert not bad.right
    assert str(bad) == (
        "two stars: found 1; a house: found 1; not asked for: cat (1); background blue: no (pink); above: no"
    )


def test_what_is_malformed_makes_a_picture_wrong_and_the_verdict_says_so():
    fish = spots(*(("fish", 10 + 20 * k, 30) for k in range(5)))
    asked = parse("five fish on pink")
    assert Verdict(asked, Sighting("pink", fish)).right
    melted = Verdict(asked, Sighting("pink", fish, spots(("malformed", 90, 90))))
    assert not melted.right
    assert str(melted) == "five fish: found 5; and one malformed; background pink: yes"


def test_what_an_open_caption_does_not_name_is_free():
    seen = Sighting("pink", spots(("cat", 20, 60), ("dog", 90, 60), ("fish", 60, 10)))
    assert Verdict(parse("with a cat"), seen).right
    assert str(Verdict(parse("with a cat"), seen)) == "a cat: found 1; also there: dog (1); also there: fish (1)"
    assert Verdict(parse("with a cat left of a dog on pink"), seen).right
    assert Verdict(parse("on pink"), seen).right
    assert not Verdict(parse("with a dog left of a cat"), seen).right
    assert not Verdict(parse("with two cats"), seen).right
    assert not Verdict(parse("a cat and a dog"), seen).right
    assert not Verdict(parse("with a cat on blue"), seen).right


def test_a_prompt_that_is_no_scene_is_refused(judge):
    with pytest.raises(PromptError, match="is not a scene"):
        judge(torch.zeros(1, 3, 128, 128), "cats and dogs")


def test_clips_have_no_verdict(judge):
    picture = Image.new("RGB", (128, 128))
    for clips in (torch.zeros(1, 2, 3, 128, 128), [[picture, picture]]):
        with pytest.raises(ValueError, match="a verdict is of a picture, and these are clips"):
            judge.verdicts(clips, ["a cat"])
    assert judge([[picture, picture]], "a cat").tolist() == [0]  # by its frames
