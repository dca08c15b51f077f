"""What Lightning lacks for a run that loses nothing: checkpoints, Ctrl-C between steps, a log."""

import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

__all__ = ["BestCheckpoint", "EpochLines", "LastCheckpoint", "StopBetweenSteps"]


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
        rank_zero_only(shutil.copyfile)(earlier, own)
        paths = {"dirpath": self.dirpath, "best_model_path": own, "kth_best_model_path": own}
        super().load_state_dict({**state_dict, **paths, "best_k_models": {own: score}})


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``: after each epoch, and where the run broke off."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "last", save_on_exception=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to take over: the first epoch writes it anew."""


class StopBetweenSteps(Callback):
    """Let the running step finish on Ctrl-C, so that ``last.ckpt`` is whole; the second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give SIGINT back."""
        self._restore()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over SIGINT, which only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here, unless validation and the epoch's checkpoints are next."""
        if self.asked and not trainer.is_last_batch:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give SIGINT back; stop here if it came in the last epoch's last step."""
        self._restore()
        if self.asked:
            raise KeyboardInterrupt


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
