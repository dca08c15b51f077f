"""``python -m recipes list``: the recipes, and what they reach. Imports no Lightning, so that it is quick."""

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import yaml

from recipes.results import FILE, Row, reached, read, seconds

__all__ = ["descriptions", "main"]

HERE = Path(__file__).parent


@cache
def descriptions() -> dict[str, str]:
    """What each recipe is: the first line of its class's docstring, or, without a class, its module's."""
    files = [ast.parse(path.read_text()) for path in sorted(HERE.glob("models/*.py"))]
    classes = {node.name: node for file in files for node in file.body if isinstance(node, ast.ClassDef)}
    found = {}
    for path in sorted(HERE.glob("configs/*.yaml")):
        name = yaml.safe_load(path.read_text())["model"]["class_path"].rpartition(".")[2]
        found[path.stem] = _first_line(classes[name])
    found["sgd_from_scratch"] = _first_line(ast.parse((HERE / "sgd_from_scratch.py").read_text()))
    return found


def _first_line(node: ast.ClassDef | ast.Module) -> str:
    line = (ast.get_docstring(node) or "").partition("\n")[0]
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", line).replace("``", "")


def main(argv: Sequence[str] = ()) -> int:
    """Print a line for each recipe."""
    if argv:  # a mistake, or --help
        from recipes.tool import Parser

        Parser("list", __doc__).parse_args(argv)
    rows = read(FILE)
    for recipe, what in descriptions().items():
        own = [row for row in rows if row.recipe == recipe]
        print(f"{recipe:17} {_summary(own):44} {what}")
    for machine, version in dict.fromkeys((row.machine, row.torch) for row in rows):
        print(f"\nmeasured on {machine}, torch {version}, by: python -m recipes results")
    return 0


def _summary(rows: list[Row]) -> str:
    if not rows:
        return "not measured"
    return f"{reached(rows)}, {seconds(rows)}"
