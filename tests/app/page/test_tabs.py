"""The tab of docs/tabs.md: one file and one line."""

import re
import sys
import types
from pathlib import Path

import samplesmith
from samplesmith.app.page import tabs
from samplesmith.app.page.models import Models
from samplesmith.app.page.shell import build_page
from samplesmith.app.page.studio import Studio

DOCS = Path(samplesmith.__file__).parent / "docs" / "tabs.md"


def test_the_documented_tab_works(monkeypatch, emoji_pipe):
    _, code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    module = types.ModuleType("samplesmith.app.page.sample")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "sample.py", "exec"), module.__dict__)
    monkeypatch.setitem(tabs.TABS, "Sample", module.SampleTab)

    models = Models()
    models.keep("emoji-sd3", emoji_pipe)
    studio = Studio(models)
    page = build_page(studio)
    labels = [block.label for block in page.blocks.values() if type(block).__name__ == "Tab"]
    assert labels == ["Search", "Compare", "Steering", "Superpose", "Guidance", "Time shift", "One step", "Sample"]
    told = page.get_api_info()["named_endpoints"]
    names = ("search", "compare", "steering", "superpose", "guidance", "time_shift", "one_step", "sample")
    assert set(told) == {f"/{name}" for name in names}
    names = [one["parameter_name"] for endpoint in told.values() for one in endpoint["parameters"]]
    assert not any(name.startswith("param_") for name in names), "each value has a name"
    (event,) = [fn for fn in page.fns.values() if fn.api_name == "sample"]

    class Request:
        session_hash = "someone"

    updates = list(event.fn(Request(), "a star on blue"))
    studio.close()
    shown = "".join(map(str, updates[-1].values()))
    assert 'alt="a star on blue"' in shown
    assert "Drawn." in shown
