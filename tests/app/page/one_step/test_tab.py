"""The one-step tab's handlers, without a browser."""

import gradio as gr
import pytest
from samplesmith.app.page.models import Models
from samplesmith.app.page.one_step.tab import NO_STUDENT, OneStepTab
from samplesmith.app.page.shell import build_page
from samplesmith.app.page.studio import Studio


class Request:
    session_hash = "someone"


@pytest.fixture
def tab(studio):
    with gr.Blocks():
        return OneStepTab(studio)


def test_a_run_shows_the_student_before_the_teacher_and_ends_with_the_lines(tab, asked):
    values = [asked[name] for name in tab.inputs]
    updates = list(tab.run(Request(), *values))
    pictures = [one[tab.rows].count("<img") for one in updates if tab.rows in one]
    assert pictures[:5] == [0, 2, 4, 6, 8]
    end = updates[-1]
    assert pictures[-1] > 8
    assert "toy-student" in end[tab.answer]
    assert "data-settings" in end[tab.facts]
    assert "samplesmith search" in end[tab.repeat.command]
    assert "NoiseSearch" in end[tab.repeat.code]
    assert end[tab.start].interactive


def test_a_refusal_is_one_sentence_and_frees_the_buttons(tab, asked):
    updates = tab.run(Request(), *[{**asked, "steps": "few"}[name] for name in tab.inputs])
    shown = next(updates)
    assert "the student&#x27;s steps are &#x27;few&#x27;" in shown[tab.status]
    with pytest.raises(gr.Error, match="the student's steps are 'few'"):
        next(updates)


def test_the_student_s_box_offers_students_alone(tab):
    assert [value for _, value in tab.choice.model.choices] == ["toy-student"]
    assert tab.choice.model.label == "Student"


def test_without_a_student_the_tab_says_so_and_the_page_stands(no_student):
    studio = Studio(Models())
    page = build_page(studio)
    studio.close()
    assert NO_STUDENT in "".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML))
    assert "/one_step" not in page.get_api_info()["named_endpoints"]
