"""What the commands that train no recipe by themselves share."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from recipes.cli import expand
from recipes.errors import RecipeError, UsageError
from recipes.recipe import Backend, Recipe
from recipes.run import RecipeCLI, import_class, new_folder, read_checkpoint

__all__ = ["Parser", "Placed", "Prepared", "folder_for", "load"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors become one line, as all of ``python -m recipes``.

    Args:
        command: its name.
        about: what it does.
    """

    def __init__(self, command: str, about: str | None, **options: Any) -> None:
        super().__init__(
            f"python -m recipes {command}",
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise it.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")


class Placed(RecipeCLI):
    """A command line of ``fit``, run in a given folder.

    Args:
        args: the options, as after ``python -m recipes fit``.
        folder: which to make for the run.
    """

    def __init__(self, args: Sequence[str], folder: Path) -> None:
        self.place = folder
        super().__init__(expand(["fit", *args]))

    def before_instantiate_classes(self) -> None:
        """Make the folder, which is all that Lightning writes to."""
        self.folder = self.place
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.fit.trainer.default_root_dir = str(self.folder)


class Prepared(Placed):
    """Model, data and Trainer of a command line of ``fit``, which is not run."""

    def fit(self, *_: Any, **__: Any) -> None:
        """Leave nothing behind."""
        self._clear_folder()


@contextmanager
def folder_for(command: str) -> Iterator[Path]:
    """A new folder in ``runs``, which is taken away if the block fails before anything is in it."""
    folder = new_folder(Path("runs"), command)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def load(path: str, backend: Backend = "torch") -> tuple[Recipe, dict[str, Any]]:
    """The trained recipe of a checkpoint, in eval mode, and what else the checkpoint holds.

    Raises:
        RecipeError: there is no such file, or it is no checkpoint of a recipe.
    """
    checkpoint = read_checkpoint(path)
    cls, options = import_class(checkpoint["class_path"]), {**checkpoint["hyper_parameters"]}
    if "weights" in options:
        options["weights"] = None  # the checkpoint's are next
    try:
        recipe = cls(**{**options, "backend": backend})
        recipe.load_state_dict(checkpoint["state_dict"])
    except (TypeError, RuntimeError) as error:
        raise RecipeError(f"--ckpt_path {path} does not fit {cls.__name__}: {error}") from None
    return recipe.eval(), checkpoint
