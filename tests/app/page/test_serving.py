"""What the server answers beside gradio."""

import pytest
from samplesmith.app.page.pictures import PAGE, file_url
from samplesmith.app.page.serving import app_settings
from starlette.applications import Starlette
from starlette.testclient import TestClient


@pytest.fixture
def client(tmp_path):
    home = tmp_path / "samplesmith-web-x"
    (home / "visitor" / "run").mkdir(parents=True)
    (home / "visitor" / "run" / "a b.png").write_bytes(b"picture")
    (tmp_path / "secret.txt").write_text("not yours")
    settings = app_settings(home)
    return home, TestClient(Starlette(routes=settings["routes"], middleware=settings["middleware"]))


def test_a_run_s_files_are_addressed_without_the_server_s_folders(client):
    home, get = client
    address = file_url(home / "visitor" / "run" / "a b.png")
    assert address == "runs/visitor/run/a%20b.png"
    assert get.get(f"/{address}").content == b"picture"
    for climb in ("/runs/../secret.txt", "/runs/%2e%2e/secret.txt", "/runs/..%2fsecret.txt", "/runs/visitor/"):
        assert get.get(climb).status_code == 404
        assert b"not yours" not in get.get(climb).content


def test_of_the_page_s_folder_only_its_own_kinds_are_served(client):
    _, get = client
    assert get.get(f"/{file_url(PAGE / 'look.js')}").status_code == 200
    assert get.get("/page/shell.py").status_code == 404


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/", "/upload"])
def test_uploads_are_refused(client, path):
    _, get = client
    answer = get.post(path, files={"files": b"x"})
    assert (answer.status_code, answer.text) == (403, "this page takes no files")
