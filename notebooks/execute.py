"""Run notebooks without a browser: each in a fresh kernel, in this folder.

    python notebooks/execute.py                          all of them; a failure ends it
    python notebooks/execute.py --write quickstart       and keep the pictures of its output

Of outputs only pictures are kept, in cells with the tag `picture`: what a page on the web shows.
Needs the extra `notebook`. `tests/test_notebooks.py` sees to it that they are kept so.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
TAG = "picture"
_TIMEOUT = 240  # seconds a cell
_TEMPORARY = re.compile(r"(/[\w.-]+)*/tmp\w+/")  # folders that are gone


def executed(path: Path) -> Any:
    """Return a notebook as it is after all its cells have run in this folder."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": HERE}}
    )
    client.execute()
    return notebook


def strip(notebook: Any) -> None:
    """Take off what differs from run to run: all outputs but pictures, counts, times."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_kept(each) for each in cell.outputs] if TAG in tags else []


def _kept(output: Any) -> Any:
    """Return an output without what names this machine, its pictures as small as they can be."""
    data = {kind: _TEMPORARY.sub("", text) for kind, text in output["data"].items()}
    if "text/html" in data:
        page = re.sub(r"data:image/png;base64,([^']*)", _smaller, data["text/html"])
        data["text/html"] = page
    return nbformat.v4.new_output("display_data", data=data)


def _smaller(found: re.Match[str]) -> str:
    """Return a picture as JPEG: a photograph as PNG is five times as large."""
    file = BytesIO()
    with Image.open(BytesIO(b64decode(found[1]))) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def main(arguments: Sequence[str]) -> int:
    """Execute notebooks and say how long each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="Without .ipynb; by default all.")
    parser.add_argument("--write", action="store_true", help="Write them back, stripped.")
    given = parser.parse_args(arguments)
    for path in sorted(HERE.glob("*.ipynb")):
        if given.names and path.stem not in given.names:
            continue
        began = time.perf_counter()
        notebook = executed(path)
        sys.stdout.write(f"{path.name}: {time.perf_counter() - began:.1f} s\n")
        if given.write:
            strip(notebook)
            nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
