"""The command line: what ``python -m recipes`` understands."""

import argparse
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, auto_cli
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from recipes.errors import RecipeError, UsageError, nearest, one_line, plain, say
from recipes.mnist import DataError
from recipes.run import COMMANDS, RecipeCLI, read_checkpoint

__all__ = ["RECIPES", "expand", "main"]

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("configs/*.yaml"))}
# Commands that train no recipe by themselves: the modules whose function ``main`` they call, with the words
# that follow if it has one argument ``argv``, or else with what they say about its arguments.
TOOLS = {
    "list": "recipes.overview",
    "results": "recipes.results",
    "compare": "recipes.compare",
    "export": "recipes.export",
    "predict": "recipes.predict",
    "find_lr": "recipes.find_lr",
    "sgd_from_scratch": "recipes.sgd_from_scratch",
    "learning_rate": "recipes.studies.learning_rate",
    "depth": "recipes.studies.depth",
}
USAGE = f"""\
Train a network on MNIST, test its best checkpoint, draw what it learned.

  python -m recipes                                the default recipe, cnn
  python -m recipes mlp --trainer.max_epochs 3     another recipe ({", ".join(RECIPES)}), one option changed
  python -m recipes --backend torch                the same with torch.nn, as the control
  python -m recipes fit --config my.yaml           your own configuration
  python -m recipes fit --ckpt_path RUN/last.ckpt  go on with a run
  python -m recipes test --ckpt_path RUN/best.ckpt  test a checkpoint
  python -m recipes list                           all recipes, and what they reach
  python -m recipes predict --ckpt_path RUN/best.ckpt --image digit.png  read a digit of yours
  python -m recipes export --ckpt_path RUN/best.ckpt  as torch.nn's state_dict and torch.export's program
  python -m recipes compare --config mlp           with torch.nn, side by side: accuracy, losses, time, memory
  python -m recipes find_lr --config mlp           Lightning's learning rate finder
  python -m recipes results                        train all, and write what they reach
  python -m recipes learning_rate                  study: the same network, rates too small, right, too large
  python -m recipes depth                          study: gradients that vanish and explode, layer by layer
  python -m recipes fit --help                     all options; of a network: fit --model.help CNN
"""
# Of jsonargparse 4's, that Lightning calls it in a way that 5 will not have.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
# Warnings of libraries that tell the user nothing to act on.
IGNORED_WARNINGS = (
    r"Checkpoint directory .* exists and is not empty",  # the run folder, which holds config.yaml by then
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own use of torch
    r"The number of training batches .* is smaller than the logging interval",  # said by who shortens a run
    r"`ModelCheckpoint\(monitor=.*could not find the monitored key",  # a run without validation
    r"GPU available but not used",
    r"MPS available but not used",
    r"You requested to overfit but enabled .* dataloader shuffling",  # recipes.data repeats its batches
    r"You are trying to `self.log\(\)` but the `self.trainer` reference is not registered",
)


def main(argv: list[str] | None = None) -> int:
    """Run one command line, ``sys.argv`` without an argument.

    Returns:
        The exit status: 0; 1 for an error, 2 for a wrong command line, 130 after Ctrl-C, 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    command = argv[0] if argv and argv[0] in TOOLS else "fit"
    try:
        with _quiet():
            if command in TOOLS:
                tool = import_module(TOOLS[command]).main
                if list(inspect.signature(tool).parameters) == ["argv"]:
                    return tool(argv[1:]) or 0
                auto_cli(
                    tool,
                    args=argv[1:],
                    as_positional=False,
                    exit_on_error=False,
                    prog=f"python -m recipes {command}",
                )
            else:
                RecipeCLI(expand(argv))
    except ArgumentError as error:
        return _fail(f"{plain(error)}; options: python -m recipes {command} --help", status=2)
    except UsageError as error:
        return _fail(error, status=2)
    except (RecipeError, DataError, MisconfigurationException) as error:
        return _fail(error, status=1)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C", status=130)
    except SIGTERMException:
        return _fail("stopped by SIGTERM", status=143)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 0
    return 0


def expand(argv: list[str]) -> list[str]:
    """Complete a command line: the command is ``fit``, the config the default recipe's or the run's own."""
    command, rest = (argv[0], list(argv[1:])) if argv and not argv[0].startswith("-") else ("fit", list(argv))
    if command in RECIPES:
        command, rest = "fit", ["--config", command, *rest]
    if command not in COMMANDS:
        known = f"commands: {', '.join((*COMMANDS, *TOOLS))}; recipes: {', '.join(RECIPES)}"
        near = nearest(command, (*COMMANDS, *TOOLS, *RECIPES))
        raise UsageError(
            f"{command!r} is no command and no recipe{near} ({known}; see python -m recipes --help)"
        )
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("-c", "--config", action="append")
    options.add_argument("--ckpt_path")
    try:
        known, others = options.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    configs = [str(RECIPES.get(config, config)) for config in known.config or []]
    for config in configs:
        _check_config(config)
    if known.ckpt_path:
        others += ["--ckpt_path", known.ckpt_path]
        beside = Path(known.ckpt_path).parent / "config.yaml"
        configs = configs or [str(beside)] * beside.is_file()
        if not configs:
            others.insert(0, f"--model={read_checkpoint(known.ckpt_path)['class_path']}")
    elif command == "test" and not configs and not {"-h", "--help"} & {*others}:
        raise UsageError("test needs --ckpt_path RUN/best.ckpt; a run prints its own when it ends")
    elif command == "fit":
        configs = configs or [str(RECIPES["cnn"])]
    return [command, *(f"--config={config}" for config in configs), *others]


def _check_config(path: str) -> None:
    """Raise UsageError if there is no configuration in the file."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        near, known = nearest(path, RECIPES), ", ".join(RECIPES)
        raise UsageError(f"--config {path}: no such file{near}; recipes to name or copy: {known}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {path} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(
            f"--config {path} has no options like model, data, trainer; recipes/configs has some"
        )


class _Said(logging.Handler):
    """What manualgrad logs, said to the user."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what libraries say about themselves, but for manualgrad: why the first steps take long."""
    wanted = {"lightning.pytorch": "WARNING", "lightning.fabric": "WARNING", "manualgrad": "INFO"}
    levels = {name: logging.getLogger(name).level for name in wanted}
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("manualgrad").addHandler(said := _Said())
    try:
        with warnings.catch_warnings():
            for message in IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logging.getLogger("manualgrad").removeHandler(said)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _fail(error: object, status: int) -> int:
    say(f"error: {one_line(error)}")
    return status
