"""What Lightning lacks for a run that loses nothing: checkpoints, Ctrl-C between steps, a log."""

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

__all__ = ["BestCheckpoint", "EpochLines", "LastCheckpoint", "StopBetweenSteps", "WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its place, then rename it: a kill at any moment leaves the earlier one whole.

    Lightning's own writes where temporary files go; if that is another file system, it then copies onto the
    earlier checkpoint, and half a copy is none.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write ``checkpoint`` to ``path``; OSError leaves what was there."""
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        # Not straight into the file: torch.save words a full disk as an error of its own.
        data = io.BytesIO()
        torch.save(checkpoint, data)
        replace(Path(path), data.getbuffer())


def replace(path: Path, data: bytes | memoryview) -> None:
    """Let the file have this content, all of it or, after an error, none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class BestCheckpoint(ModelCheckpoint):
    """Keep ``best.ckpt``, the epoch that did best in validation.

    A resumed run has a folder of its own: it starts from a copy of the earlier best, and has to beat it.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        super().__init__(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the earlier best checkpoint, if it is still the one of that score."""
        assert self.dirpath is not None
        earlier, own = Path(state_dict["best_model_path"]), str(Path(self.dirpath, "best.ckpt"))
        score: Tensor | None = state_dict["best_model_score"]
        if score is None or not earlier.is_file():
            return
        # A later epoch may have taken its place since the checkpoint was written that we resume from.
        callbacks = torch.load(earlier, map_location="cpu", weights_only=True)["callbacks"]
        if callbacks[self.state_key]["best_model_score"] != score:
            return
        rank_zero_only(replace)(Path(own), earlier.read_bytes())
        paths = {"dirpath": self.dirpath, "best_model_path": own, "kth_best_model_path": own}
        super().load_state_dict({**state_dict, **paths, "best_k_models": {own: score}})


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``: after each epoch, and where the run broke off."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "last", save_on_exception=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to take over: the first epoch writes it anew."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the log, too, up to the checkpoint: who goes on from there after a kill has all of it."""
        for logger in trainer.loggers:
            logger.save()
        super().on_train_epoch_end(trainer, pl_module)


class StopBetweenSteps(Callback):
    """Let the running step finish on Ctrl-C and SIGTERM, so that ``last.ckpt`` is whole.

    The second one stops at once. Of several processes, one that is asked stops all, after the same step.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SIGTERMException: SIGTERM.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._handlers: dict[int, Any] = {}

    def _ask(self, signum: int, _: Any) -> None:
        self.asked = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _restore(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def _stop_if_asked(self, trainer: Trainer) -> None:
        asked = self.asked
        if trainer.world_size > 1:
            # All decide by this number. A signal that comes while they agree on it counts at the next step.
            given = torch.tensor(asked, device=trainer.strategy.root_device)
            asked = int(trainer.strategy.reduce(given, reduce_op="max"))
        if asked:
            raise KeyboardInterrupt if asked == signal.SIGINT else SIGTERMException(128 + asked)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, which only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here, unless validation and the epoch's checkpoints are next."""
        if not trainer.is_last_batch:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back; stop here if one came in the last epoch's last step."""
        self._restore()
        self._stop_if_asked(trainer)


class EpochLines(ProgressBar):
    """One line per epoch on stderr, where there is no terminal to draw a bar in."""

    _enabled = True
    _started = 0.0

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch that is resumed midway has no other start."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print epoch, steps, seconds and the latest metrics."""
        if not self._enabled:
            return
        metrics = {name: value for name, value in trainer.progress_bar_metrics.items() if "/" in name}
        line = [
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            f"step {trainer.global_step}",
            f"{time.monotonic() - self._started:.1f} s",
            *(f"{name} {value:.4f}" for name, value in metrics.items()),
        ]
        print("  ".join(line), file=sys.stderr, flush=True)
