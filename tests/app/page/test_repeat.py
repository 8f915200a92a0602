"""The program and the command line that repeat a run."""

import gradio as gr
from samplesmith.app.page.models import IN_HAND, Models
from samplesmith.app.page.repeat import Repeat


def test_a_command_is_shown_only_where_one_can_name_the_run_s_models():
    models = Models(pipe=object())
    with gr.Blocks():
        repeat = Repeat(models, "some")
    assert list(repeat.blank().values()) == ["", ""]
    shown = repeat.of("code", lambda: "samplesmith search a", ["emoji-sd3", None], "# cancelled\n")
    assert list(shown.values()) == ["# cancelled\ncode", "# cancelled\nsamplesmith search a\n"]
    code, command = repeat.of("code", lambda: 1 / 0, [IN_HAND, "emoji-clip"]).values()
    assert code == "code"
    assert command == f"# {IN_HAND}: an object in your program, which no command line can name\n"
