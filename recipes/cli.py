"""The command line: LightningCLI with a default recipe, a folder per run, and a test after a fit."""

import argparse
import csv
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar, Timer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from recipes.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, StopBetweenSteps
from recipes.data import MNIST
from recipes.mnist import DataError
from recipes.models import Classifier

__all__ = ["RecipeCLI", "RecipeError", "main"]

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("configs/*.yaml"))}
COMMANDS = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
    "test": {"model", "dataloaders", "datamodule"},
}
# What a checkpoint's weights fit; all else may be changed when a run is resumed.
ARCHITECTURE = ("network", "widths")
USAGE = f"""\
Train a network on MNIST, test its best checkpoint, draw what it learned.

  python -m recipes                                the default recipe, cnn
  python -m recipes mlp --trainer.max_epochs 3     another recipe ({", ".join(RECIPES)}), one option changed
  python -m recipes --backend torch                the same with torch.nn, as the control
  python -m recipes fit --config my.yaml           your own configuration
  python -m recipes fit --ckpt_path RUN/last.ckpt  go on with a run
  python -m recipes test --ckpt_path RUN/best.ckpt  test a checkpoint
  python -m recipes fit --help                     all options
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
    r"You are trying to `self.log\(\)` but the `self.trainer` reference is not registered",
)


class RecipeError(RuntimeError):
    """Something the user can mend; the message names it, and the mend."""


class UsageError(RecipeError):
    """A command line that means nothing."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line, ``sys.argv`` without an argument.

    Returns:
        The exit status: 0; 1 for an error, 2 for a wrong command line, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    try:
        with _quiet():
            RecipeCLI(expand(argv))
    except ArgumentError as error:
        return _fail(f"{error}; all options: python -m recipes fit --help", status=2)
    except UsageError as error:
        return _fail(error, status=2)
    except (RecipeError, DataError, MisconfigurationException) as error:
        return _fail(error, status=1)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C", status=130)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 0
    return 0


def expand(argv: list[str]) -> list[str]:
    """Complete a command line: the command is ``fit``, the config the default recipe's or the run's own."""
    command, rest = (argv[0], list(argv[1:])) if argv and not argv[0].startswith("-") else ("fit", list(argv))
    if command in RECIPES:
        command, rest = "fit", ["--config", command, *rest]
    if command not in COMMANDS:
        known = f"commands: {', '.join(COMMANDS)}; recipes: {', '.join(RECIPES)}"
        raise UsageError(f"{command!r} is no command and no recipe ({known}); see python -m recipes --help")
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("-c", "--config", action="append")
    options.add_argument("--ckpt_path")
    try:
        known, others = options.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    configs = [str(RECIPES.get(config, config)) for config in known.config or []]
    for config in configs:
        if not Path(config).is_file():
            raise UsageError(
                f"--config {config}: no such file; recipes to name or copy: {', '.join(RECIPES)}"
            )
    if known.ckpt_path:
        others += ["--ckpt_path", known.ckpt_path]
        beside = Path(known.ckpt_path).parent / "config.yaml"
        configs = configs or [str(beside)] * beside.is_file()
    elif command == "fit":
        configs = configs or [str(RECIPES["cnn"])]
    return [command, *(f"--config={config}" for config in configs), *others]


class RecipeCLI(LightningCLI):
    """LightningCLI for the classifiers and MNIST, with the commands ``fit`` and ``test``."""

    model: Classifier
    datamodule: MNIST

    def __init__(self, args: list[str]) -> None:
        self.folder = Path()
        self.checkpoint: dict[str, Any] = {}
        options = {"exit_on_error": False}
        super().__init__(
            Classifier,
            MNIST,
            seed_everything_default=1,
            trainer_defaults={
                "default_root_dir": "runs",
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            parser_kwargs={
                **options,
                "prog": "python -m recipes",
                **{command: dict(options) for command in COMMANDS},
            },
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and the arguments of the Trainer's methods that are not options."""
        return COMMANDS

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--backend``."""
        parser.add_argument(
            "--backend",
            type=Literal["manualgrad", "torch"],
            default="manualgrad",
            help="Where layers, loss and optimizer come from: manualgrad, or torch as the control.",
        )
        parser.link_arguments("backend", "model.backend")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and settle what the checkpoint says against what was given."""
        assert isinstance(args, list)
        self.config = parser.parse_args(args)
        command = self.config.subcommand
        config = self.config[command]
        if config.ckpt_path is None:
            if command == "test":
                raise UsageError("test needs --ckpt_path RUN/best.ckpt; a run prints its own when it ends")
            return
        self.checkpoint = read_checkpoint(config.ckpt_path)
        given = parser.parse_args(args, defaults=False)[command]
        for name, trained in self.checkpoint["hyper_parameters"].items():
            option = "backend" if name == "backend" else f"model.{name}"
            wanted = given.get(option)
            if wanted is None or wanted == trained:
                config[option] = config.model[name] = trained
            elif name in ARCHITECTURE:
                raise RecipeError(
                    f"{config.ckpt_path} is another model's: its {option} is {trained}, not {wanted}; "
                    "leave out the --config or option that says so, or name another checkpoint"
                )
            else:
                _say(f"{option} is {wanted}, as given; the checkpoint was trained with {trained}")

    def _parse_ckpt_path(self) -> None:
        """Lightning's own way, which lets the checkpoint win silently; parse_arguments did it."""

    def before_instantiate_classes(self) -> None:
        """Make the run folder."""
        config = self._own_config()
        if not config.trainer.fast_dev_run:
            self.folder = new_folder(Path(config.trainer.default_root_dir), config.model.network)

    def instantiate_classes(self) -> None:
        """As Lightning does; a ValueError is an option's wrong value."""
        trainer = self._own_config().trainer
        try:
            super().instantiate_classes()
        except ValueError as error:
            self._clear_folder()
            raise UsageError(str(error)) from error
        except MisconfigurationException as error:
            self._clear_folder()
            devices = f"--trainer.accelerator {trainer.accelerator} --trainer.devices {trainer.devices}"
            raise RecipeError(
                f"{devices}: {error} With torch {torch.__version__}, this machine has "
                f"{torch.cuda.device_count()} CUDA GPUs; --trainer.accelerator cpu works everywhere"
            ) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add logger, checkpoints, progress and clock, so that no installed package changes them."""
        config = self._get(self.config_init, "trainer")
        self.timer = Timer()
        callbacks = [self.timer, StopBetweenSteps()]
        if config.fast_dev_run:
            kwargs["logger"] = False
        else:
            root, name, version = self.folder.parent.parent, self.folder.parent.name, self.folder.name
            kwargs["logger"] = CSVLogger(root, name, version, flush_logs_every_n_steps=50)
            if self.subcommand == "fit":
                callbacks += [BestCheckpoint(self.folder)] * (config.limit_val_batches != 0)
                callbacks.append(LastCheckpoint(self.folder))
        if config.enable_progress_bar is not False:
            tty = sys.stderr.isatty()
            callbacks.append(RichProgressBar(console_kwargs={"stderr": True}) if tty else EpochLines())
        config.callbacks = [*(config.callbacks or []), *callbacks]
        return super().instantiate_trainer(**kwargs)

    def fit(self, model: Classifier, datamodule: MNIST, ckpt_path: str | None, **options: Any) -> None:
        """Train, then test the best checkpoint, once; ``--trainer.limit_test_batches 0`` leaves that out."""
        if self.checkpoint:
            _say(f"going on from {ckpt_path}, step {self.checkpoint['global_step']}")
            self._carry_over(Path(str(ckpt_path)).parent / "metrics.csv")
        trainer = self.trainer
        try:
            trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, **options)
        except BaseException as error:
            self._clear_folder()
            if (self.folder / "last.ckpt").is_file():
                _say(f"go on with: python -m recipes fit --ckpt_path {self.folder}/last.ckpt")
            # Lightning turns Ctrl-C into SystemExit.
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        seconds = self.timer.time_elapsed("train")
        if best := getattr(trainer.checkpoint_callback, "best_model_path", ""):
            model.load_state_dict(read_checkpoint(best)["state_dict"])
        self._test(f"{seconds:.1f} s training")

    def test(self, model: Classifier, datamodule: MNIST, ckpt_path: str, **_: Any) -> None:
        """Test a checkpoint."""
        try:
            model.load_state_dict(self.checkpoint["state_dict"])
        except RuntimeError as error:
            raise RecipeError(f"{ckpt_path} does not fit {self._network()}: {_one_line(error)}") from None
        self._test("")

    def _test(self, spent: str) -> None:
        trainer, model, started = self.trainer, self.model, time.monotonic()
        tested = trainer.limit_test_batches != 0
        if tested:
            trainer.test(model, datamodule=self.datamodule, verbose=False)
            spent = spent or f"{time.monotonic() - started:.1f} s testing"
        if trainer.is_global_zero:
            self._report(spent, tested)

    def _report(self, spent: str, tested: bool) -> None:
        files = [] if self.folder == Path() else self._draw(tested)
        split = "test" if tested else "val"
        accuracy = self.trainer.callback_metrics.get(f"{split}/accuracy", torch.nan)
        device = self.trainer.strategy.root_device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
        digits = f" of {self.model.confusion.sum():,} digits" if tested else ""
        print(
            f"{self._network()}: {'test' if tested else 'validation'} accuracy "
            f"{100 * accuracy:.2f} %{digits}, "
            f"{sum(parameter.numel() for parameter in self.model.parameters()):,} parameters, "
            f"{spent}, {where}{threads}, data: {self.datamodule.source}",
            flush=True,
        )
        if files:
            _say(f"{self.folder}: {', '.join(files)}")
        if (self.folder / "best.ckpt").is_file():
            _say(f"test:   python -m recipes test --ckpt_path {self.folder}/best.ckpt")
        if (self.folder / "last.ckpt").is_file():
            more = f"--trainer.max_epochs {2 * max(1, self.trainer.max_epochs or 1)}"
            _say(f"go on:  python -m recipes fit --ckpt_path {self.folder}/last.ckpt {more}")

    def _own_config(self) -> Any:
        return self.config[str(self.subcommand)]

    def _network(self) -> str:
        return f"{self.model.hparams['network']} ({self.model.hparams['backend']})"

    def _draw(self, tested: bool) -> list[str]:
        # Matplotlib takes half a second to import, and only here it is needed.
        from recipes import pictures

        if self.subcommand == "fit":
            pictures.draw_curves(self.folder / "metrics.csv", self.folder / "curves.png")
        if tested:
            pictures.draw_confusion(self.model.confusion, self.folder / "confusion.png")
            images, true, predicted = (torch.cat(parts) for parts in zip(*self.model.mistakes, strict=True))
            pictures.draw_mistakes(images, true, predicted, self.folder / "mistakes.png")
        return sorted(path.name for path in self.folder.iterdir())

    @rank_zero_only
    def _carry_over(self, metrics: Path) -> None:
        """Begin metrics.csv with what the earlier run logged before the checkpoint."""
        if self.folder == Path() or not metrics.is_file():
            return
        with metrics.open(newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                values = {name: float(value) for name, value in row.items() if value}
                if step < self.checkpoint["global_step"]:
                    self.trainer.logger.log_metrics(values, step)  # pyright: ignore[reportOptionalMemberAccess]

    def _clear_folder(self) -> None:
        """Leave no empty run folder behind."""
        with suppress(OSError):
            self.folder.rmdir()


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint of a recipe onto the CPU.

    Raises:
        RecipeError: there is no such file, or it is no checkpoint of a recipe.
    """
    if not Path(path).is_file():
        raise RecipeError(f"--ckpt_path {path}: no such file; give a path like runs/cnn/DATE_TIME/best.ckpt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RecipeError(f"--ckpt_path {path} is no checkpoint, or a broken one") from error
    needed = {"state_dict", "hyper_parameters", "global_step"}
    if not isinstance(checkpoint, dict) or not needed <= checkpoint.keys():
        raise RecipeError(f"--ckpt_path {path} is no checkpoint of these recipes")
    return checkpoint


@rank_zero_only
def _make(folder: Path) -> None:
    folder.mkdir(parents=True)


def new_folder(root: Path, name: str) -> Path:
    """Make and return ``root/name/DATE_TIME``, a folder that did not exist.

    Raises:
        RecipeError: it cannot be made.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"_{i}" for i in range(2, 1000))):
        folder = root / name / f"{stamp}{suffix}"
        try:
            _make(folder)
        except FileExistsError:
            if folder.exists():
                continue
            raise RecipeError(f"cannot make the run folder {folder}: {root} is a file") from None
        except OSError as error:
            reason = f"cannot make the run folder {folder}: {error.strerror}"
            raise RecipeError(f"{reason}; name another place with --trainer.default_root_dir") from None
        return folder
    raise RecipeError(f"cannot make a run folder in {root / name}")


class _Said(logging.Handler):
    """What manualgrad logs, said to the user."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


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


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


@rank_zero_only
def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _fail(error: object, status: int) -> int:
    _say(f"error: {_one_line(error)}")
    return status
