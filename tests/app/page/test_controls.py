"""What every tab's run has."""

import gradio as gr
from samplesmith.app.page.controls import RUN, named, seconds_text


def test_the_api_s_values_have_names():
    def run(request, *values):
        assert request.session_hash
        yield " ".join(map(str, values))

    with gr.Blocks() as page:
        fields = {"prompt": gr.Textbox(), "seed": gr.Number()}
        shown = gr.Textbox()
        gr.Button().click(named(run, fields), list(fields.values()), shown, api_name="search", **RUN)
    (endpoint,) = page.get_api_info()["named_endpoints"].values()
    assert [one["parameter_name"] for one in endpoint["parameters"]] == ["prompt", "seed"]
    (event,) = page.fns.values()

    class Request:
        session_hash = "someone"

    assert list(event.fn(Request(), "a cat", 3)) == ["a cat 3"]


def test_seconds_are_said_as_a_person_says_them():
    assert [seconds_text(one) for one in (0.0456, 1.24, 31.2, 600)] == ["0.046 s", "1.2 s", "31 s", "10 min"]
