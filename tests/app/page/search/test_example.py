"""The run that stands on the page before a visitor has made one."""

from PIL import Image
from samplesmith.app.page.search.example import FOLDER, Example
from samplesmith.app.page.search.tried import Tried


def test_it_is_a_whole_run_and_says_that_it_is_stored():
    example = Example()
    assert "An example, stored with this page." in example.answer()
    assert example.answer().count("The judge says") == 2
    assert example.gallery().count("cell") - 1 >= example.job.candidates == example.gallery().count("<img")
    assert all(Image.open(file).size == (128, 128) for file in FOLDER.glob("*.png"))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 250_000
    assert str(example.job.seed) in example.code or "seed" not in example.code
    assert example.job.prompts[0] in example.command


def test_what_is_stored_is_read_as_it_was():
    one = Example()._view.tried[0]
    assert Tried.from_dict(one.as_dict()) == one
