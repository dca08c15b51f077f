"""python -m manualgrad show: a layer's derivation and code, together."""

import inspect
import io
import re
import unicodedata

import pytest
from rows import ROWS

from manualgrad.__main__ import main
from manualgrad.show import page
from manualgrad.terminal import coloured

ESCAPE = "\033["


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain(text: str) -> str:
    """Without markup of code and links, and without indentation."""
    return " ".join(re.sub(r":\w+:`|`", "", text).split())


def width(line: str) -> int:
    """In columns of a terminal, of which the hat of x̂ takes none."""
    return sum(not unicodedata.combining(c) for c in line)


@pytest.mark.parametrize("row", ROWS)
def test_page(row):
    text = page(row)
    assert text.startswith(row.name)
    assert ESCAPE not in text
    assert max(map(width, text.splitlines())) <= 110
    for function in row.functions:
        assert f"{function.__name__}   manualgrad/layers/" in text
        if function.__module__.rpartition(".")[2] != row.family:
            continue
        for line in inspect.getdoc(function).splitlines():
            assert plain(line) in plain(text)
        for name in ("forward", "setup_context", "backward"):
            body = inspect.getsource(getattr(function, name)).splitlines()[1:]
            assert all(line.strip() in text for line in body), f"{function.__name__}.{name}"
    own = [f for f in row.functions if f.__module__.rpartition(".")[2] == row.family]
    assert ("def backward" in text) == bool(own)
    if row.module is not None and row.functions:
        assert "def forward(self" in re.sub(r"\(\s+", "(", text)


def test_helpers():
    """What a Function calls is shown if it is on the page, and named if it is elsewhere; no checks."""
    text = page("LayerNorm")
    assert "def standardize(" in text
    assert re.search(r"^wide   manualgrad/function.py:\d+\n    `x` in the precision", text, re.MULTILINE)
    assert "ConstantPadFunction   manualgrad/layers/padding.py" in page("conv2d")
    assert "(show ConstantPad1d)" in page("conv2d")
    assert "def check_classes" not in page("CrossEntropyLoss")


def test_symbols():
    """A page says what the symbols mean that it does not define itself."""
    text = page("Sigmoid")
    assert text.index("Symbols that mean the same on every page") < text.index("SigmoidFunction   ")
    assert re.search(r"\n    g +∂L/∂y, what arrives", text)


def test_inherited():
    """Of a base only what holds for the Function, and its derivation."""
    text = page("MSELoss")
    assert text.index("What the losses of a difference") < text.index("φ(δ) = δ²")
    assert text.count("def setup_context") == text.count("def forward(x") == text.count("def backward") == 1
    assert page("Softmin").count("def backward") == 1


def test_functional_in_short():
    text = page("layer_norm")
    functional = text[text.index("def layer_norm(") :]
    assert '"""Layer normalization, as :func:`torch.nn.functional.layer_norm`."""' in functional
    assert "# (checks left out)\n    ndim = len(normalized_shape)" in functional
    assert "Raises" not in functional
    assert page("ReLU").count("def relu(") == 1
    assert "def _apply(" in page("softmax")  # which is the way from the functional to the Function


def test_composed():
    text = page("TransformerEncoderLayer")
    assert "Its parts: add, Linear, LayerNorm, scaled_dot_product_attention." in text
    assert "def residual(" in text
    assert page("Flatten").endswith("Flatten is torch's own: a view.")


def test_colours():
    """Headings, formulas and comments are marked line by line; without the marks it is the plain page."""
    for name in ("LayerNorm", "LSTM", "conv2d"):
        text = page(name, colour=True)
        assert re.sub("\033\\[\\d+m", "", text) == page(name)
        for line in text.splitlines():
            marks = re.findall("\033\\[(\\d+)m", line)
            assert marks[1::2] == ["0"] * (len(marks) // 2)
            assert len(marks) % 2 == 0
    text = page("LayerNorm", colour=True)
    assert text.startswith("\033[1mLayerNorm ")
    assert "\033[36mForward    x̂ = (x − μ) r" in text
    assert "if torch.is_grad_enabled():  \033[2m# differentiated again" in text
    assert '    \033[36m"""Mean μ and' in text
    assert "\n    mean, rstd = standardize(" in text


def test_when_coloured(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())


def test_command(capsys):
    assert main(["show", "LayerNormFunction", "softmax"]) == 0
    assert capsys.readouterr().out == f"{page('LayerNorm')}\n\n\n{page('Softmax')}\n"


def test_unknown(capsys):
    assert main(["show", "LayerNrm"]) == 2
    assert capsys.readouterr().err.startswith("manualgrad show: no layer named 'LayerNrm' in the catalog")
    with pytest.raises(KeyError, match="LayerNrm"):
        page("LayerNrm")
