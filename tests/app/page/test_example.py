"""The runs that stand on the tabs before a visitor has made one, and how they are stored."""

import re

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from samplesmith.app.page import example
from samplesmith.app.page.answer import Shot, answer
from samplesmith.app.page.example import PAGE, SAID, Example, folder_of, store
from samplesmith.app.page.memory import settings
from samplesmith.app.page.models import Models
from samplesmith.app.page.pictures import downloads
from samplesmith.app.page.studio import Studio
from samplesmith.app.page.tabs import TABS


@pytest.mark.parametrize("title", TABS)
def test_each_tab_stands_filled_with_the_run_that_its_fields_ask_for(title):
    stored = Example.of(title, Models())
    studio = Studio(Models())
    with gr.Blocks():
        tab = TABS[title](studio)
    studio.close()
    assert {name: field.value for name, field in tab.inputs.items()} == stored.settings
    shown = {name: (field.value or "").strip() for name, field in tab.shown.items()}  # code is stripped by gradio
    assert shown == {name: text.strip() for name, text in stored.shown.items()}
    html = "".join(stored.shown.values())
    assert SAID in html
    assert "runs/" not in html, "no visitor's file"
    assert "data-settings" not in html
    named = {PAGE / found for found in re.findall(r'src="page/([^"]+)"', html)}
    assert named == set(folder_of(title).glob("*.webp"))
    assert all(max(Image.open(file).size) <= 128 for file in named)
    assert sum(file.stat().st_size for file in folder_of(title).iterdir()) < 90_000
    for figure in re.findall(r"<figure[^>]*>", html):
        assert "example" in figure or "empty" in figure


def test_a_page_of_another_model_shows_none():
    assert not Example.of("Search", Models("fashion-ddpm")).shown


def test_what_is_stored_is_the_run_without_what_is_only_the_visitor_s(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "PAGE", tmp_path / "page")
    home = tmp_path / "samplesmith-web-home"
    run = home / "visitor" / "search" / "1"
    run.mkdir(parents=True)
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(run / "best.png")
    panel = answer(
        "a <star>", [Shot("Best", run / "best.png", 3, 0.5, marked=True), Shot("First", run / "best.png", 0)]
    )
    facts = downloads([("Best image", run / "best.png")]) + settings({"prompt": "a <star>"})
    folder = store("Some tab", {"prompt": "a <star>"}, {"answer": panel, "facts": facts, "code": "1"}, home)
    assert folder == tmp_path / "page" / "some_tab" / "example"
    assert {file.name for file in folder.iterdir()} == {"run.json", "0.webp"}, "a picture is kept once"
    stored = Example.of("Some tab", Models())
    assert stored.settings == {"prompt": "a <star>"}
    assert stored.shown["facts"] == ""
    assert stored.shown["code"] == "1"
    shown = stored.shown["answer"]
    assert shown.count('src="page/some_tab/example/0.webp"') == 2
    assert shown.count(SAID) == 1
    assert shown.count("cell example") == 2
    assert "a &lt;star&gt;" in shown
