"""What the page's server answers beside gradio: files of runs, files that come with the page, and no uploads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from .pictures import PAGE

KINDS = (".js", ".css", ".webp")
"""Of the page's own files those of these kinds are served."""


def app_settings(runs: Path) -> dict[str, Any]:
    """Settings of the server under gradio's routes.

    Args:
        runs: the folder of the visitors. The names of those within are random, and nothing lists them.
    """
    routes = [Mount("/runs", _RunFiles(directory=runs)), Mount("/page", _OwnFiles(directory=PAGE))]
    return {"routes": routes, "middleware": [Middleware(_NoUploads)]}


class _RunFiles(StaticFiles):
    """Files of runs, read before their answer begins: they are taken away where a visitor leaves meanwhile."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        found = await super().get_response(path, scope)
        if not isinstance(found, FileResponse):
            return found
        try:
            content = await run_in_threadpool(Path(found.path).read_bytes)
        except FileNotFoundError:
            raise HTTPException(404) from None
        kept = {name: found.headers[name] for name in ("etag", "last-modified")}
        return Response(content, headers=kept, media_type=found.media_type)


class _OwnFiles(StaticFiles):
    """Files of the page's folder, by their kinds."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not path.endswith(KINDS):
            raise HTTPException(404)
        return await super().get_response(path, scope)


class _NoUploads:
    """Refuses what is sent to gradio's upload route: no tab takes a file, and what is stored would be served."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "upload" in scope["path"].rstrip("/").split("/"):
            refused = PlainTextResponse("this page takes no files", status_code=403)
            await refused(scope, receive, send)
            return
        await self.app(scope, receive, send)
