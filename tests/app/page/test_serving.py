"""What the server answers beside gradio."""

import pytest
from samplesmith.app.page.pictures import PAGE, file_url
from samplesmith.app.page.serving import app_settings
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles
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


def test_a_run_s_file_that_goes_while_it_is_asked_for_is_not_found(client, monkeypatch):
    """A visitor who reloads takes the files of a run away between the look at one and its reading."""
    home, get = client
    file, look_up = home / "visitor" / "run" / "a b.png", StaticFiles.lookup_path

    def gone(self, path):
        found = look_up(self, path)
        file.unlink()
        return found

    answer = get.get(f"/{file_url(file)}")
    assert answer.headers["content-type"] == "image/png"
    assert get.get(f"/{file_url(file)}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    monkeypatch.setattr(StaticFiles, "lookup_path", gone)
    assert get.get(f"/{file_url(file)}").status_code == 404


def test_of_the_page_s_folder_only_its_own_kinds_are_served(client):
    _, get = client
    assert get.get(f"/{file_url(PAGE / 'look.js')}").status_code == 200
    assert get.get("/page/shell.py").status_code == 404


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/", "/upload"])
def test_uploads_are_refused(client, path):
    _, get = client
    answer = get.post(path, files={"files": b"x"})
    assert (answer.status_code, answer.text) == (403, "this page takes no files")
