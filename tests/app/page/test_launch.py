"""The page on objects of a program."""

import json
import urllib.request

import toys
from samplesmith.app.page.models import IN_HAND


def test_the_page_opens_on_a_pipeline_in_hand(tmp_path):
    from samplesmith.app import launch
    from samplesmith.verifiers import CallableVerifier

    brightness = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="brightness")
    page = launch(toys.build("StableDiffusion"), verifier=brightness, block=False)
    try:
        assert page.local_url.startswith("http://127.0.0.1:")
        assert page.share_url is None
        config = json.load(urllib.request.urlopen(f"{page.local_url}config", timeout=60))
        choices = [one["props"].get("choices") for one in config["components"] if one["type"] == "dropdown"]
        assert choices[0][0] == [IN_HAND, IN_HAND]
        assert ["emoji-sd3", "emoji-sd3"] in choices[0]
        assert choices[1][0] == ["brightness", "brightness"]
    finally:
        page.close()
        page.studio.close()
