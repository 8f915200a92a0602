"""`samplesmith models`: what is shipped, and what a pipeline can do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from ... import assets
from ...valid_json import to_json
from .options import Json, console


def models(
    pipeline: Annotated[
        str | None, typer.Option(help="say what this pipeline can do: a shipped model, a folder, a file or a hub id")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the shipped models, or say what any pipeline can do with the methods of this package.

    Example: `samplesmith models --pipeline ./my-model`
    """
    if pipeline is not None:
        from ...pipelines.on_device import load_on_device
        from ...pipelines.support import support

        answers = support(load_on_device(pipeline, device="cpu"))
        if as_json:
            print(to_json(answers.as_dict(), indent=2))
        else:
            console.print(answers)
        return
    rows = []
    for name in assets.names():
        card = assets.card(name)
        size = sum(file.stat().st_size for file in assets.path(name).rglob("*") if file.is_file())
        rows.append({"name": name, "megabytes": round(size / 1e6, 1), **card})
    if as_json:
        print(to_json(rows, indent=2))
        return
    table = Table(Column("name", no_wrap=True), "kind", "MB", "what it is", "call defaults")
    for row in rows:
        defaults = ", ".join(f"{key}={value}" for key, value in row.get("call_defaults", {}).items())
        table.add_row(row["name"], row["kind"], f"{row['megabytes']:.1f}", row["summary"], defaults)
    console.print(table)
