"""Access: axe-core finds nothing serious on any tab, in either theme, at either size."""

import shutil
import subprocess
import tarfile

import pytest
from browser import open_tab
from samplesmith.app.page.tabs import TABS

pytestmark = pytest.mark.slow

AXE = "axe-core@4.14.1"


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The text of axe-core, from its npm package."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("axe-core comes by npm, which is not here")
    packed = subprocess.run(["npm", "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True)
    if packed.returncode:
        pytest.skip(f"no npm registry to have {AXE} from: {packed.stderr[-200:]}")
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def problems(page, axe):
    page.wait_for_timeout(400)  # colours that change take a moment
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        (one["impact"], one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark")])
def test_axe_finds_nothing_serious(visit, axe, width, height, scheme):
    page = visit(width=width, height=height, color_scheme=scheme)
    for title in [*TABS, "Search"]:
        open_tab(page, title)
        assert problems(page, axe) == [], title
    for folded in ("Model, verifier and judge", "Strategy and steps"):
        page.get_by_role("button", name=folded).click()
    page.locator("#gallery .look").first.click()
    assert problems(page, axe) == []
    page.keyboard.press("Escape")
    page.locator("#prompt textarea").fill("a dragon on blue")
    page.locator("#prompt textarea").press("Enter")
    page.locator(".known").wait_for()
    assert problems(page, axe) == []
