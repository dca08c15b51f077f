"""Runs: LightningCLI with a folder for each, checkpoints that are never lost, and a test after a fit."""

import csv
import errno
import inspect
import json
import os
import re
import sys
import time
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar, Timer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities import rank_zero_only

from recipes.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, StopBetweenSteps, WholeCheckpoints
from recipes.data import MNIST
from recipes.errors import RecipeError, UsageError, nearest, one_line, plain, say
from recipes.recipe import Backend, Recipe

__all__ = ["COMMANDS", "RecipeCLI", "import_class", "new_folder", "read_checkpoint"]

COMMANDS = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
    "test": {"model", "dataloaders", "datamodule"},
}
# The variable by which the processes that Lightning starts learn of the first one's folder.
RUN_FOLDER = "RECIPES_RUN_FOLDER"
# A full disk and its like.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


class RecipeCLI(LightningCLI):
    """LightningCLI for the recipes and MNIST, with the commands ``fit`` and ``test``."""

    model: Recipe
    datamodule: MNIST

    def __init__(self, args: list[str]) -> None:
        self.folder = Path()
        self.checkpoint: dict[str, Any] = {}
        options = {"exit_on_error": False}
        super().__init__(
            Recipe,
            MNIST,
            subclass_mode_model=True,
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
        """Add the options that belong to neither model, data nor Trainer."""
        parser.add_argument(
            "--backend",
            type=Backend,
            default="manualgrad",
            help="Where layers, loss and optimizer come from: manualgrad, or torch as the control.",
        )
        parser.link_arguments("backend", "model.init_args.backend")
        parser.add_argument(
            "--patience",
            type=int | None,
            default=None,
            help="Stop early, after so many epochs that were no better in validation.",
        )
        parser.add_argument(
            "--tensorboard",
            type=bool,
            default=False,
            help="Log for TensorBoard, too (needs the package tensorboard): tensorboard --logdir runs",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and settle what the checkpoint says against what was given."""
        assert isinstance(args, list)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            message = plain(error)
            raise UsageError(
                f"{message}{self._suggestion(message)}; options: python -m recipes {args[0]} --help"
            ) from None
        command = self.config.subcommand
        config = self.config[command]
        seed = config.seed_everything
        if type(seed) is int and not 0 <= seed < 2**32:
            raise UsageError(f"--seed_everything {seed}: give a number from 0 to {2**32 - 1}")
        if config.ckpt_path is None:
            if command == "test":
                raise UsageError("test needs --ckpt_path RUN/best.ckpt; a run prints its own when it ends")
            return
        self.checkpoint = read_checkpoint(config.ckpt_path)
        path, trained = self.checkpoint["class_path"], self.checkpoint["hyper_parameters"]
        given = parser.parse_args(args, defaults=False)[command]
        mend = "leave out the --config or option that says so, or name another checkpoint"
        # A class has several paths: recipes.models.CNN is recipes.models.cnn.CNN.
        if import_class(path) is not import_class(config.model.class_path):
            wanted = _name(config.model.class_path)
            raise RecipeError(f"{config.ckpt_path} is another model's: {_name(path)}, not {wanted}; {mend}")
        architecture = inspect.signature(import_class(path).__init__).parameters
        for name, value in trained.items():
            option = "backend" if name == "backend" else f"model.{name}"
            wanted = given.get("backend" if name == "backend" else f"model.init_args.{name}")
            if wanted is None or wanted == value:
                config.model.init_args[name] = value
                if name == "backend":
                    config.backend = value
            elif name in architecture:
                found = f"its {option} is {value}, not {wanted}"
                raise RecipeError(f"{config.ckpt_path} is another model's: {found}; {mend}")
            else:
                say(f"{option} is {wanted}, as given; the checkpoint was trained with {value}")

    def _suggestion(self, message: str) -> str:
        """The option that one the parser does not know may be meant to be."""
        if unknown := re.search(r"unrecognized arguments: --([^\s=]+)", message):
            parsers = self._subcommand_parsers.values()
            options = {key for parser in parsers for key in parser.get_defaults().keys()}  # noqa: SIM118
            return nearest(unknown[1], options, "--")
        if unknown := re.search(r"--model\.(\w+): ([\w.]+) has no such option", message):
            classes = [cls for cls in import_class(unknown[2]).__mro__ if issubclass(cls, Recipe)]
            options = {name for cls in classes for name in inspect.signature(cls.__init__).parameters}
            return nearest(unknown[1], options - {"self", "options"}, "--model.")
        return ""

    def _parse_ckpt_path(self) -> None:
        """Lightning's own way, which lets the checkpoint win silently; parse_arguments did it."""

    def before_instantiate_classes(self) -> None:
        """Make the run folder, one for all processes."""
        config = self._own_config()
        if config.patience is not None and config.patience < 1:
            raise UsageError(f"--patience {config.patience}: give a number of epochs, at least 1")
        if config.trainer.fast_dev_run:
            return
        if getattr(rank_zero_only, "rank", 0) and RUN_FOLDER in os.environ:
            self.folder = Path(os.environ[RUN_FOLDER])
            return
        name = _name(config.model.class_path).lower()
        self.folder = new_folder(Path(config.trainer.default_root_dir), name)
        os.environ[RUN_FOLDER] = str(self.folder)

    def instantiate_classes(self) -> None:
        """As Lightning does; a ValueError is an option's wrong value."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            self._clear_folder()
            raise UsageError(plain(error)) from error
        except RecipeError:
            self._clear_folder()
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add loggers, checkpoints, progress and clock, so that no installed package changes them."""
        own, config = self._own_config(), self._get(self.config_init, "trainer")
        try:
            # The Trainer makes none of its own beside this one.
            self.timer = Timer(config.max_time)
        except MisconfigurationException:
            self._clear_folder()
            wanted = "give days, hours, minutes, seconds, such as 00:00:30:00"
            raise UsageError(f"--trainer.max_time {config.max_time}: {wanted}") from None
        callbacks: list[Callback] = [self.timer, StopBetweenSteps()]
        if config.fast_dev_run:
            kwargs["logger"] = False
        else:
            kwargs["logger"] = self._loggers(config.logger, own.tensorboard)
            # Else a profiler reports by a log message, which is silenced.
            if profiler := PROFILERS.get(config.profiler if isinstance(config.profiler, str) else ""):
                kwargs["profiler"] = profiler(dirpath=self.folder, filename="profile")
            if self.subcommand == "fit":
                if config.limit_val_batches != 0:
                    callbacks.append(BestCheckpoint(self.folder, self.model.monitor, self.model.mode))
                callbacks.append(LastCheckpoint(self.folder))
        if own.patience and self.subcommand == "fit":
            stop = EarlyStopping(self.model.monitor, mode=self.model.mode, patience=own.patience)
            callbacks.append(stop)
        if config.enable_progress_bar is not False:
            tty = sys.stderr.isatty()
            callbacks.append(RichProgressBar(console_kwargs={"stderr": True}) if tty else EpochLines())
        config.callbacks = [*(config.callbacks or []), *callbacks]
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
            # What the Trainer's constructor refuses is an option of its own.
            raise self._refused(error) from error
        if config.sync_batchnorm and trainer.world_size > 1 and trainer.strategy.root_device.type != "cuda":
            raise RecipeError(
                "--trainer.sync_batchnorm true: torch synchronizes batch norm on GPUs only; "
                "leave it out on the CPU"
            )
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        return trainer

    def _refused(self, error: Exception) -> RecipeError:
        message, given = one_line(error), self._own_config().trainer
        if not re.search(r"(?i)device|accelerator|gpu|cuda|torch_xla", message):
            return RecipeError(f"--trainer: {message}")
        asked = {name: given[name] for name in ("accelerator", "devices", "strategy")}
        options = " ".join(f"--trainer.{name} {value}" for name, value in asked.items() if value != "auto")
        if "strategy `fsdp` requires a GPU" in message:
            return RecipeError(
                f"{options}: Lightning's FSDP needs GPUs; --trainer.strategy ddp works without"
            )
        return RecipeError(
            f"{options}: {message} With torch {torch.__version__}, this machine has "
            f"{torch.cuda.device_count()} CUDA GPUs; --trainer.accelerator cpu works everywhere"
        )

    def _loggers(self, given: Any, tensorboard: bool) -> list[Logger]:
        root, name, version = self.folder.parent.parent, self.folder.parent.name, self.folder.name
        loggers: list[Logger] = [CSVLogger(root, name, version, flush_logs_every_n_steps=50)]
        if tensorboard:
            try:
                loggers.append(TensorBoardLogger(root, name, version))
            except ModuleNotFoundError:
                self._clear_folder()
                raise RecipeError("--tensorboard true: pip install tensorboard") from None
        if isinstance(given, Logger):
            return [*loggers, given]
        return [*loggers, *given] if isinstance(given, list) else loggers

    def fit(self, model: Recipe, datamodule: MNIST, ckpt_path: str | None, **options: Any) -> None:
        """Train, then test the best checkpoint, once; ``--trainer.limit_test_batches 0`` leaves that out."""
        if self.checkpoint:
            say(f"going on from {ckpt_path}, step {self.checkpoint['global_step']}")
            self._carry_over(Path(str(ckpt_path)).parent / "metrics.csv")
        trainer = self.trainer
        try:
            trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, **options)
        except BaseException as error:
            self._clear_folder()
            if (self.folder / "last.ckpt").is_file():
                say(f"go on with: python -m recipes fit --ckpt_path {self.folder}/last.ckpt")
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise RecipeError(
                    f"cannot write {error.filename or f'to {self.folder}'}: {error.strerror}; make room, or "
                    "name another place with --trainer.default_root_dir"
                ) from error
            # Lightning turns Ctrl-C into SystemExit.
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        seconds = self.timer.time_elapsed("train")
        if any(isinstance(c, EarlyStopping) and c.stopped_epoch for c in trainer.early_stopping_callbacks):
            say(f"stopped early, after epoch {trainer.current_epoch}: see --patience")
        if best := getattr(trainer.checkpoint_callback, "best_model_path", ""):
            model.load_state_dict(read_checkpoint(best)["state_dict"])
        self._test(f"{seconds:.1f} s training", seconds)

    def test(self, model: Recipe, datamodule: MNIST, ckpt_path: str, **_: Any) -> None:
        """Test a checkpoint."""
        try:
            model.load_state_dict(self.checkpoint["state_dict"])
        except RuntimeError as error:
            raise RecipeError(f"{ckpt_path} does not fit {self._title()}: {one_line(error)}") from None
        self._test("")

    def _test(self, spent: str, seconds: float | None = None) -> None:
        trainer, model, started = self.trainer, self.model, time.monotonic()
        tested = trainer.limit_test_batches != 0
        if tested:
            trainer.test(model, datamodule=self.datamodule, verbose=False)
            spent = spent or f"{time.monotonic() - started:.1f} s testing"
        if trainer.is_global_zero:
            self._summarize("test" if tested else "val", seconds)
            self._report(spent, tested)

    def _summarize(self, split: str, seconds: float | None) -> None:
        """Write ``summary.json``: what the run reached, for programs."""
        if self.folder == Path():
            return
        model, metrics = self.model, self.trainer.callback_metrics
        monitored = model.monitor.rpartition("/")[2]
        value = metrics.get(f"{split}/{monitored}")
        summary = {
            "recipe": type(model).__name__,
            "backend": model.hparams["backend"],
            "seed": model.seed,
            "split": split,
            "metric": model.unit if monitored == "loss" else monitored,
            "value": None if value is None else float(value),
            "metrics": {name: float(metric) for name, metric in metrics.items()},
            "training_seconds": seconds,
            "steps": self.trainer.global_step,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")

    def _report(self, spent: str, tested: bool) -> None:
        files = [] if self.folder == Path() else self._draw(tested)
        split = "test" if tested else "val"
        known = f"{split}/loss" in self.trainer.callback_metrics
        headline = (
            self.model.headline(split, self.trainer.callback_metrics)
            if known
            else "neither validated nor tested"
        )
        device = self.trainer.strategy.root_device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
        print(
            f"{self._title()}: {headline}, "
            f"{sum(parameter.numel() for parameter in self.model.parameters()):,} parameters, "
            f"{spent}, {where}{threads}, data: {self.datamodule.source}",
            flush=True,
        )
        if files:
            say(f"{self.folder}: {', '.join(files)}")
        if (self.folder / "best.ckpt").is_file():
            say(f"test:   python -m recipes test --ckpt_path {self.folder}/best.ckpt")
        if (self.folder / "last.ckpt").is_file():
            more = f"--trainer.max_epochs {2 * max(1, self.trainer.max_epochs or 1)}"
            say(f"go on:  python -m recipes fit --ckpt_path {self.folder}/last.ckpt {more}")

    def _own_config(self) -> Any:
        return self.config[str(self.subcommand)]

    def _title(self) -> str:
        return f"{type(self.model).__name__.lower()} ({self.model.hparams['backend']})"

    def _draw(self, tested: bool) -> list[str]:
        # Matplotlib takes half a second to import, and only here it is needed.
        from recipes import pictures

        if self.subcommand == "fit":
            pictures.draw_curves(self.folder / "metrics.csv", self.folder / "curves.png", self.model.unit)
        if tested:
            self.model.draw(self.folder)
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
                    self.trainer.loggers[0].log_metrics(values, step)

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
    needed = {"class_path", "global_step", "hyper_parameters", "state_dict"}
    if not isinstance(checkpoint, dict) or not needed <= checkpoint.keys():
        raise RecipeError(f"--ckpt_path {path} is no checkpoint of these recipes")
    return checkpoint


@rank_zero_only
def _make(folder: Path) -> None:
    folder.mkdir(parents=True)


def new_folder(root: Path, name: str, option: str = "--trainer.default_root_dir") -> Path:
    """Make and return ``root/name/DATE_TIME``, a folder that did not exist; ``option`` names another root.

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
            raise RecipeError(f"{reason}; name another place with {option}") from None
        return folder
    raise RecipeError(f"cannot make a run folder in {root / name}")


def import_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _name(path: str) -> str:
    return path.rpartition(".")[2]
