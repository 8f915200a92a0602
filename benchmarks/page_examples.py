"""Make the runs that the page shows before a visitor has made one: `python benchmarks/page_examples.py [TAB ...]`.

Each tab is run as it stands when the page is opened, by the tab's own handler and the shipped models; what it shows at
its end is stored in `app/page/TAB/example` (see `app/page/example.py`).
"""

import sys
from types import SimpleNamespace

import gradio as gr
from samplesmith.app.page.example import store
from samplesmith.app.page.models import Models
from samplesmith.app.page.studio import Studio
from samplesmith.app.page.tabs import TABS


def main(titles: list[str]) -> None:
    studio = Studio(Models())
    for title in titles:
        with gr.Blocks():
            tab = TABS[title](studio)
        if not tab.inputs:
            print(f"{title}: nothing to run", flush=True)
            continue
        settings = {name: field.value for name, field in tab.inputs.items()}
        shown = {}
        for update in tab.run(SimpleNamespace(session_hash="example"), *settings.values()):
            shown |= {name: update[field] for name, field in tab.shown.items() if field in update}
        folder = store(title, settings, shown, studio.visitors.home)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{title}: {len(list(folder.iterdir())) - 1} pictures, {size / 1000:.0f} kB", flush=True)
    studio.close()


if __name__ == "__main__":
    main(sys.argv[1:] or list(TABS))
