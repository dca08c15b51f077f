"""Execute the lessons and write the notebooks: ``python notebooks/build.py [NAME ...]``.

The source of a lesson is its ``.py`` file (jupytext's percent format): change that one, then run this. The
``.ipynb`` beside it is the same, executed, with its pictures, for those who read without running.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))
SECONDS = 600  # of one cell, before it is given up


def read(name: str) -> nbformat.NotebookNode:
    """The notebook that the source of lesson ``name`` describes, not executed."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same at every build
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}  # folded away
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run every cell of ``notebook``, in place, in the lessons' folder."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    options = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(
        notebook, timeout=SECONDS, record_timing=False, coalesce_streams=True, resources=options
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version, which is the machine's
    return notebook


def main(names: list[str]) -> int:
    """Build the lessons named, or all."""
    if unknown := [name for name in names if name not in LESSONS]:
        print(f"build: no lesson {unknown[0]!r}; there are {', '.join(LESSONS)}", file=sys.stderr)
        return 2
    for name in names or LESSONS:
        start = time.monotonic()
        notebook = execute(read(name))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument).stem for argument in sys.argv[1:]]))
