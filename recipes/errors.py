"""Errors that a user can mend: one line each, which names the mistake and the mend."""

import difflib
import re
import sys
from collections.abc import Iterable

from lightning.pytorch.utilities import rank_zero_only

__all__ = ["RecipeError", "UsageError", "nearest", "one_line", "plain", "say"]

# How jsonargparse says that it tried a model's class and None, and that a class has no such argument.
PARSER_NOISE = (
    (r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - ", ""),
    (r" - Expected a <class 'NoneType'>.*", ""),
    (
        r"Problem with given class_path '([\w.]+)': Option '([^']+)' is not accepted",
        r"--model.\2: \1 has no such option; it has those of --model.help \1",
    ),
    (r"Problem with given class_path '([\w.]+)': Parser key \"([^\"]+)\"", r"--model.\2 of \1"),
    (r"Parser key \"model\": ", ""),
    (r"Parser key \"([^\"]+)\": ", r"--\1: "),
    (r"Expected an? <class '(?:[\w.]+\.)?(\w+)'>", r"expected \1"),
    (r"Expected an? typing\.Literal", "expected one of "),
)


class RecipeError(RuntimeError):
    """Something the user can mend; the message names it, and the mend."""


class UsageError(RecipeError):
    """A command line that means nothing."""


def plain(error: Exception) -> str:
    """What a parser's error says, without how it came to say it."""
    message = one_line(error)
    for pattern, replacement in PARSER_NOISE:
        message = re.sub(pattern, replacement, message)
    return message


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """A question that suggests the one of ``known`` that ``word`` resembles; "" if none does."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def one_line(error: object) -> str:
    return " ".join(str(error).split())


@rank_zero_only
def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
