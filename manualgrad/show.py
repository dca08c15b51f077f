"""A layer, derivation and code together: ``python -m manualgrad show NAME``."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType

from . import layers
from .catalog import CATALOG, Layer, find
from .function import Function

__all__ = ["page"]

WIDTH = 110
BOLD, DIM, FORMULA, PLAIN = "\033[1m", "\033[2m", "\033[36m", "\033[0m"


def page(layer: Layer | str, colour: bool = False) -> str:
    """What a layer's page says, then its Functions, what these call, its functional and its module.

    Args:
        layer: a row of the catalog, or a name as :func:`manualgrad.catalog.find` takes it.
        colour: whether headings, formulas and comments are marked, for a terminal.

    Raises:
        KeyError: if there is no layer of that name, with the names that are close.
    """
    row = find(layer) if isinstance(layer, str) else layer
    text = "\n\n".join(block for block in _blocks(row) if block).lstrip("\n")
    return text if colour else re.sub("\033\\[\\d+m", "", text)


def _blocks(row: Layer) -> Iterator[str]:
    """The page from top to bottom, marked; between one block and the next comes an empty line."""
    home = row.functional if row.module is None else row.module
    here = home.__module__
    if not row.functions:
        yield _heading(row.name)
        yield f"{row.name} is {row.note}."
        return
    yield _heading(row.name, _place(home))
    yield _formulas(inspect.getmodule(home))
    yield _marked(_symbols())
    if row.note:
        yield _filled(f"Note: {row.note}.")
    own = [f for f in row.functions if f.__module__ == here]
    if not own:
        names = ", ".join(_layer(f).name for f in row.functions)
        yield _filled(f"Its parts: {names}.")
    inherited = {cls: None for f in own for cls in reversed(f.__mro__) if _is_function(cls)}
    for cls in inherited:
        yield _heading(cls.__name__, _place(cls))
        yield _formulas(cls)
        yield from map(_code, _methods(cls, own))
    called = _called(method for cls in inherited for method in _methods(cls, own))
    for helper in _of_page(called, here):
        yield _heading(helper.__name__, _place(helper))
        yield _code(helper)
    elsewhere = [f for f in dict.fromkeys([*row.functions, *called]) if f.__module__ != here]
    if elsewhere:
        yield _heading("On other pages")
        yield "\n".join(map(_named, elsewhere))
    if row.functional.__module__ == here:
        yield _heading(row.functional.__name__, _place(row.functional))
        yield _code(row.functional, short=True)
        for helper in _of_page(_called([row.functional]), here):
            if helper is not row.functional and "apply" in _names(helper):  # the way to a Function
                yield _code(helper, short=True)
    if row.module is not None:
        yield _heading(row.module.__name__, _place(row.module))
        yield _formulas(row.module)
        yield _code(row.module.forward, short=True)
        if not own:
            for helper in _of_page(_called([row.module.forward]), here):
                yield _code(helper)


def _of_page(things: Iterable[FunctionType | type], page: str) -> list[FunctionType]:
    return [f for f in things if isinstance(f, FunctionType) and f.__module__ == page]


def _layer(function: type) -> Layer:
    """The first row of a Function that is on the Function's own page."""
    page = function.__module__.rpartition(".")[2]
    return next(row for row in CATALOG if function in row.functions and row.family == page)


def _is_function(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Function) and value is not Function


def _methods(cls: type, heirs: Iterable[type]) -> list[FunctionType]:
    """Those of a Function's methods that it or an heir uses, in the order of its page."""
    used = [n for n, v in vars(cls).items() if any(inspect.getattr_static(f, n, None) is v for f in heirs)]
    return [getattr(cls, name) for name in used if isinstance(getattr(cls, name), FunctionType)]


def _called(functions: Iterable[FunctionType]) -> list[FunctionType | type]:
    """The functions and Functions of this package that these use, in the order of reading, but no checks.

    What is in the same file is followed further.
    """
    found: dict[FunctionType | type, None] = {}
    waiting = list(functions)
    while waiting:
        function = waiting.pop(0)
        for name in _names(function):
            target = function.__globals__.get(name)
            home = getattr(target, "__module__", None) or ""
            if not home.startswith("manualgrad.") or _is_check(name) or target in found:
                continue
            if isinstance(target, FunctionType):
                found[target] = None
                if home == function.__module__:
                    waiting.append(target)
            elif isinstance(target, type) and issubclass(target, Function):
                found[target] = None
    return list(found)


def _names(function: FunctionType) -> list[str]:
    """The names in the body of a function, in the order of reading."""
    names = [node for s in _syntax(function).body for node in ast.walk(s) if isinstance(node, ast.Name)]
    return [node.id for node in sorted(names, key=lambda node: (node.lineno, node.col_offset))]


def _source(function: FunctionType) -> str:
    return textwrap.dedent(inspect.getsource(function)).rstrip()


def _syntax(function: FunctionType) -> ast.FunctionDef:
    (definition,) = ast.parse(_source(function)).body
    assert isinstance(definition, ast.FunctionDef)
    return definition


def _place(thing: Callable) -> str:
    """Its file and line."""
    return f"{thing.__module__.replace('.', '/')}.py:{inspect.getsourcelines(thing)[1]}"


def _heading(title: str, place: str = "") -> str:
    line = f"{title}   {place}".rstrip()
    return f"\n{BOLD}{line}{PLAIN}\n{DIM}{'─' * len(line)}{PLAIN}"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _docstring(thing: type | FunctionType | ModuleType | None) -> str:
    """As it stands there, but for its markup of code and links."""
    return re.sub(r"(?::\w+:)?(`+)~?([^`]+?)(?: <[^`]+>)?\1", r"`\2`", inspect.getdoc(thing) or "")


def _formulas(thing: type | ModuleType | None) -> str:
    return _marked(_docstring(thing))


def _marked(text: str) -> str:
    """Formulas, marked line by line, as a pager wants it."""
    return "\n".join(f"{FORMULA}{line}{PLAIN}" if line else "" for line in text.splitlines())


def _symbols() -> str:
    """The table of symbols that mean the same on every page, out of the docstring of ``layers/``."""
    paragraphs = _docstring(layers).split("\n\n")
    first = next(k for k, paragraph in enumerate(paragraphs) if paragraph.startswith("Symbols"))
    return "\n\n".join(paragraphs[first : first + 2])


def _named(thing: FunctionType | type) -> str:
    """One that is not shown: its place, what it is, and how to see it."""
    summary = _docstring(thing).partition("\n\n")[0].replace("\n", " ")
    further = f"   (show {_layer(thing).name})" if isinstance(thing, type) else ""
    return f"{thing.__name__}   {_place(thing)}{further}\n{_filled(summary, '    ')}".rstrip()


def _code(function: FunctionType, short: bool = False) -> str:
    """A function's source, comments and docstrings marked; if ``short``, without details and checks."""
    source = _source(function)
    source = _shortened(source) if short else source
    lines, marks, first = source.splitlines(), [], True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            marks.append((token, DIM))
        elif token.type == tokenize.STRING and first:  # a statement that is nothing but a string
            marks.append((token, FORMULA))
        first = token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.NL)
    for token, mark in marks:
        (top, left), (bottom, right) = token.start, token.end
        for row in range(top - 1, bottom):
            line = lines[row]
            start = left if row == top - 1 else len(line) - len(line.lstrip())
            end = right if row == bottom - 1 else len(line)
            if line:
                lines[row] = f"{line[:start]}{mark}{line[start:end]}{PLAIN}{line[end:]}"
    return "\n".join(lines)


def _shortened(source: str) -> str:
    """A function's source with the summary of its docstring alone, and a line in place of checks."""
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    before = 0
    for statement in reversed(definition.body):
        top, bottom = statement.lineno - 1, statement.end_lineno or statement.lineno
        if statement is definition.body[0] and ast.get_docstring(definition) is not None:
            summary = next((i for i in range(top, bottom) if not lines[i].strip()), bottom)
            if summary < bottom:
                fits = len(lines[summary - 1]) + 3 <= WIDTH
                end = '"""' if fits else f'\n{" " * statement.col_offset}"""'
                lines[summary - 1 : bottom] = [lines[summary - 1] + end]
        elif _checks(statement):
            indent = " " * statement.col_offset
            # with the comments above it, and together with a check that follows
            while lines[top - 1].strip().startswith("#"):
                top -= 1
            lines[top : before if before == bottom + 1 else bottom] = [f"{indent}# (checks left out)"]
            before = top + 1
    return "\n".join(lines)


def _is_check(name: str) -> bool:
    """Whether a function of this name only complains."""
    name = name.rpartition(".")[2].lstrip("_")
    return name == "require" or name.startswith(("check", "warn"))


def _checks(statement: ast.stmt) -> bool:
    """Whether a statement can do nothing but complain."""
    if isinstance(statement, (ast.If, ast.For)):
        return all(map(_checks, (*statement.body, *statement.orelse)))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return _is_check(ast.unparse(statement.value.func))
    return isinstance(statement, (ast.Raise, ast.Assert))
