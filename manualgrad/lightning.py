"""Callbacks for anyone's Lightning Trainer: train with hand-written derivatives, and watch them.

Three callbacks, each of use without the others, for any LightningModule::

    from lightning.pytorch import Trainer
    from manualgrad.lightning import GradientFlow, ParityMonitor, SwapLayers

    flow, parity = GradientFlow(every_n_steps=20), ParityMonitor(every_n_steps=500)
    trainer = Trainer(max_epochs=10, callbacks=[SwapLayers(), flow, parity])
    trainer.fit(model, loader)

    flow.flags                     # {"vanishing": {"net.0": 40}, "exploding": {}}: since which step
    flow.history[100]["net.3"]     # {"norm": 0.031, "rms": 0.00012, "update": 0.0011}
    parity.history[500].worst      # ("net.0.weight", 2.1e-07)

- :class:`SwapLayers` gives the layers of the model manualgrad's derivatives and fuses chains of them;
  checkpoints stay torch's.
- :class:`GradientFlow` measures, layer by layer, the gradient and how far a step moves the weights; names
  layers whose gradient vanishes or explodes; draws a picture.
- :class:`ParityMonitor` computes a step's gradients once more by torch's derivatives, and names the layer
  that differs most.

None changes what is trained: with and without the two monitors weights are the same bit for bit. What they
have to say is logged as ``lightning.pytorch.manualgrad``, which prints where Lightning's own messages do.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if __name__ == "lightning":
    raise ImportError(
        "manualgrad's own folder is on sys.path, where its lightning.py hides Lightning: run Python elsewhere"
    )
try:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers.logger import DummyLogger
    from lightning.pytorch.strategies import (
        DeepSpeedStrategy,
        FSDPStrategy,
        ModelParallelStrategy,
        SingleDeviceStrategy,
    )
    from lightning.pytorch.utilities.seed import isolate_rng
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lightning":
        raise
    raise ModuleNotFoundError(
        "manualgrad.lightning needs Lightning: pip install lightning", name=error.name
    ) from error

from .fuse import FuseReport, fuse, unfuse, unfuse_one
from .swap import TORCHS, Selection, SwapReport, restore, swap, unswap

__all__ = ["GradientFlow", "Parity", "ParityMonitor", "SwapLayers", "draw_gradient_flow"]

log = logging.getLogger("lightning.pytorch.manualgrad")
# What torch.compile(lightning_module) puts on the instance, bound to that instance.
COMPILED = ("forward", "training_step", "validation_step", "test_step", "predict_step")


class SwapLayers(Callback):
    """Swap the layers of the LightningModule for manualgrad's, and fuse them, while the Trainer runs it.

    Swaps in ``setup``, before a strategy wraps the model, and again when fitting, validation, testing or
    prediction starts, which reaches layers that the module's own ``setup``, its ``configure_model`` or
    ``Trainer(sync_batchnorm=True)`` made since. Parameters, optimizers and the state_dict stay as they are,
    so a checkpoint has torch's format and a run resumes from it with or without this callback.

    At the end of the stage, also by an exception, the modules get the classes back that they had: the trained
    model is as torch made it, can be pickled without manualgrad, scripted and exported. ``restore=False``
    leaves manualgrad's layers in it.

    The forward of a LightningModule is fused like that of other modules, unless it asks the Trainer
    (``self.log``, ``self.current_epoch``, ...); layers in a module of their own (``self.net``) are fused
    there in any case. Layers that ``configure_model`` has given to FSDP2's ``fully_shard`` have classes of
    their own, which stay; those that ``__init__`` made are swapped before.

    Args:
        fuse: also compute chains of layers as blocks: :func:`manualgrad.fuse`.
        only: swap only these: classes, or patterns of qualified names such as ``"net.*"``.
        skip: leave these alone, likewise: see :func:`manualgrad.swap`.
        restore: give the modules their classes back at the end of the stage.

    Attributes:
        swap_report: what was swapped, what was left alone and why.
        fuse_report: the same of chains.

    Raises:
        TypeError: in ``setup``, if ``only`` or ``skip`` holds anything but classes of modules and patterns.
    """

    def __init__(
        self, fuse: bool = True, only: Selection = None, skip: Selection = None, restore: bool = True
    ) -> None:
        self.fuse, self.only, self.skip, self.restore = fuse, only, skip, restore
        self.swap_report, self.fuse_report = SwapReport(), FuseReport()
        self._before: dict[nn.Module, type[nn.Module]] = {}
        self._said = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Swap the layers that are there."""
        if pl_module not in self._before:
            self._before, self.swap_report, self.fuse_report = {}, SwapReport(), FuseReport()
        self._swap(pl_module)

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)
        said = f"SwapLayers: swapped {len(self.swap_report.changed)} layers"
        said += f", fused {len(self.fuse_report.fused)} chains" if self.fuse else ""
        said += f", left {len(self.swap_report.left)} alone" if self.swap_report.left else ""
        if said != self._said and trainer.is_global_zero:
            log.info("%s (which and why: swap_report, fuse_report)", said)
        self._said = said

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap layers made since ``setup``, and say once what was swapped."""
        self._start(trainer, pl_module)

    on_validation_start = on_test_start = on_predict_start = on_fit_start

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the modules their classes back."""
        if self.restore:
            for module, cls in self._before.items():
                if vars(type(module)).get("_fused_from") is cls:
                    unfuse_one(module)
            restore(self._before)
            self._before = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the modules their classes back: ``teardown`` is not called then."""
        self.teardown(trainer, pl_module, "")

    def _swap(self, pl_module: LightningModule) -> None:
        new = {module: type(module) for module in pl_module.modules() if module not in self._before}
        if not new:
            return
        self._before |= new
        report = swap(pl_module, only=self.only, skip=self.skip)
        self.swap_report.changed.update(report.changed)
        self.swap_report.left.update(report.left)
        if self.fuse:
            fused = fuse(pl_module)
            self.fuse_report.fused.update(fused.fused)
            self.fuse_report.left.update(fused.left)


class GradientFlow(Callback):
    r"""Measure gradients and updates of every layer while training; name those that vanish or explode.

    A layer is a module that owns parameters, under its qualified name; its gradient g is that of all its
    parameters that have one, n elements in all, and w are these parameters' values before the step. On a step
    that is observed:

    - ``norm``: ‖g‖ = √Σ g², summed over accumulated batches, without the factor of a GradScaler, and before
      clipping, which would hide what is to be seen;
    - ``rms``: r = ‖g‖ / √n, by which layers of different size compare;
    - ``update``: ‖Δw‖ / ‖w‖, where Δw is by how much the optimizer's step, with momentum, clipping, decay and
      all, did change w. Around 1e-3 is common; a step that the GradScaler skipped gives 0.

    Norms are summed in float64: squares of vanishing gradients underflow in float32. What a LightningModule
    holds itself counts as a layer under the name of its class. On all other steps nothing is measured or
    copied.

    A layer's gradient

    - vanishes where r < ``vanishing`` · R, with R the median r of the last quarter of layers, three at least,
      in the order in which they were made: back-propagation starts there. At the default 1e-4 one learning
      rate cannot serve both: what the layers near the loss do in one step takes this one ten thousand. In a
      network that trains well layers lie within a factor of about a hundred of each other.
    - explodes where it is infinite or NaN, where r > ``exploding`` · R, by default 1e4 likewise, or where
      ‖Δw‖ > ‖w‖: the step replaces what the layer had learned. (In a network of ReLUs without normalization
      too large weights enlarge g of all layers alike, so that only the third shows it.)

    It counts when three observed steps in a row show it, since zero-initialized layers let nothing through
    for the first step or two; a gradient that is not finite counts at once, but under a GradScaler, which
    makes such ones while it looks for its factor. One warning is given per layer and kind, with the first of
    these steps.

    Works with accumulated batches, mixed precision, several optimizers (R is of the layers of the same
    optimizer), manual optimization and frozen parameters; under DDP in the process of rank zero, which has
    the averaged gradients.

    Args:
        every_n_steps: observe each optimizer step whose number is a multiple of this.
        vanishing: fraction of R below which a gradient vanishes.
        exploding: multiple of R above which a gradient explodes.
        path: the PNG drawn when training ends, also by an exception or Ctrl-C; by default
            ``gradient_flow.png`` in the Trainer's ``log_dir``. matplotlib is needed then.

    Attributes:
        history: step (optimizer steps before it) -> layer -> ``norm``, ``rms``, ``update``. Saved in
            checkpoints, so that a resumed run goes on with it. The Trainer's loggers, if any, get
            ``gradient/<layer>`` (the norm) and ``update/<layer>``.
        flags: ``"vanishing"`` and ``"exploding"`` -> layer -> step at which it began.

    Raises:
        ValueError: if ``every_n_steps`` is less than 1, or not ``0 < vanishing < 1 < exploding``.
        MisconfigurationException: at the start of training, if the strategy splits parameters between
            processes, as FSDP does.
    """

    PERSISTENT = 3

    def __init__(
        self,
        every_n_steps: int = 50,
        vanishing: float = 1e-4,
        exploding: float = 1e4,
        path: str | Path | None = None,
    ) -> None:
        _check_steps("GradientFlow", every_n_steps)
        if not 0 < vanishing < 1 < exploding:
            raise ValueError(
                f"GradientFlow: vanishing={vanishing}, exploding={exploding}: as multiples of the gradient "
                "near the loss they must satisfy 0 < vanishing < 1 < exploding"
            )
        self.every_n_steps, self.vanishing, self.exploding = every_n_steps, vanishing, exploding
        self.path = None if path is None else Path(path)
        self.history: dict[int, dict[str, dict[str, float]]] = {}
        self.flags: dict[str, dict[str, int]] = {"vanishing": {}, "exploding": {}}
        self._picture: Path | None = None
        self._step: int | None = None
        self._next = 0
        self._observed: list[dict[str, _Layer]] = []
        self._suspected: dict[tuple[str, str], list[tuple[int, str]]] = {}

    def state_dict(self) -> dict[str, Any]:
        """History and flags."""
        return {"history": self.history, "flags": self.flags}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with an earlier run's history and flags."""
        self.history, self.flags = state_dict["history"], state_dict["flags"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be measured; find out where the picture goes."""
        if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)):
            raise MisconfigurationException(
                f"GradientFlow: {type(trainer.strategy).__name__} splits layers between processes, none of "
                "which has the whole gradient: use it with one device or strategy='ddp'"
            )
        # Asked by all processes: log_dir waits for them.
        folder = None if getattr(trainer, "fast_dev_run", False) else trainer.log_dir
        self._picture = self.path or (Path(folder, "gradient_flow.png") if folder else None)
        self._next = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Decide whether the step that this batch belongs to is observed."""
        # Once for all optimizers of a batch: each of their steps counts in global_step.
        observed = trainer.is_global_zero and trainer.global_step >= self._next
        self._step = trainer.global_step if observed else None
        self._observed = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure the gradients, which are whole, unscaled and not clipped yet; keep the weights."""
        if self._step is None:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # Such an optimizer, a fused one, divides by the scale in its step.
        scaled = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
        scale = scaler.get_scale() if scaled else 1.0
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        layers = {}
        for name, module in pl_module.named_modules():
            parameters = [p for p in module.parameters(recurse=False) if id(p) in own and p.grad is not None]
            if parameters:
                norm = _norm(p.grad for p in parameters) / scale
                weights = [p.detach().clone() for p in parameters]
                layers[name or type(pl_module).__name__] = _Layer(norm, parameters, weights)
        self._observed.append(layers)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the updates, keep and log all of it, and judge."""
        if self._step is None or not self._observed:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        values = self.history.setdefault(self._step, {})
        for layers in self._observed:
            measured = {name: layer.measured() for name, layer in layers.items()}
            self._judge(self._step, measured, at_once=scaler is None)
            values.update(measured)
        metrics = {f"gradient/{name}": layer["norm"] for name, layer in values.items()}
        metrics |= {f"update/{name}": layer["update"] for name, layer in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self._step)
        self._next = (self._step // self.every_n_steps + 1) * self.every_n_steps
        self._step, self._observed = None, []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not (trainer.is_global_zero and self.history and self._picture):
            return
        try:
            draw_gradient_flow(self.history, self.flags, self._picture)
        except ModuleNotFoundError as error:
            log.warning(
                "GradientFlow: no picture drawn, %s is not installed: pip install matplotlib", error.name
            )
        except OSError as error:
            log.warning("GradientFlow: no picture drawn: %s", error)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what was measured until then."""
        self._step, self._observed = None, []
        self.on_train_end(trainer, pl_module)

    def _judge(self, step: int, layers: dict[str, dict[str, float]], at_once: bool) -> None:
        rms = [layer["rms"] for layer in layers.values() if math.isfinite(layer["rms"])]
        near = statistics.median(rms[-max(3, math.ceil(len(rms) / 4)) :]) if rms else 0.0
        found: dict[tuple[str, int], list[tuple[str, str]]] = {}
        for name, layer in layers.items():
            finite, ratio = math.isfinite(layer["rms"]), layer["rms"] / near if near else 1.0
            size = f"{layer['rms']:.1e} per element, {ratio:.1e} of that near the loss"
            reasons = {"vanishing": size if finite and ratio < self.vanishing else "", "exploding": ""}
            if not finite:
                reasons["exploding"] = "not finite"
            elif ratio > self.exploding:
                reasons["exploding"] = size
            elif layer["update"] > 1:
                reasons["exploding"] = f"a step {layer['update']:.2g} times as long as the weights"
            for kind, reason in reasons.items():
                since = self._suspected.setdefault((kind, name), [])
                since.append((step, reason)) if reason else since.clear()
                sure = len(since) >= self.PERSISTENT or (reason and not finite and at_once)
                if sure and name not in self.flags[kind]:
                    self.flags[kind][name], reason = since[0]
                    found.setdefault((kind, since[0][0]), []).append((name, reason))
                del since[self.PERSISTENT :]
        for (kind, first), named in found.items():
            what = "; ".join(f"{name} ({reason})" for name, reason in named)
            log.warning("GradientFlow: since step %d %s: %s", first, kind, what)


@dataclass
class _Layer:
    norm: float
    parameters: list[nn.Parameter]
    weights: list[Tensor]

    def measured(self) -> dict[str, float]:
        before, rms = _norm(self.weights), self.norm / math.sqrt(sum(w.numel() for w in self.weights))
        moved = _norm(p.detach() - w for p, w in zip(self.parameters, self.weights))
        update = moved / before if before else math.inf if moved else 0.0
        return {"norm": self.norm, "rms": rms, "update": update}


@dataclass(frozen=True)
class Parity:
    """A step's gradients, compared with torch's.

    Args:
        loss: the loss by manualgrad's layers.
        torch_loss: the loss by torch's.
        errors: parameter -> ‖g − g_torch‖ / ‖g_torch of its layer‖.
    """

    loss: float
    torch_loss: float
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> tuple[str, float]:
        """The parameter whose error is largest, and its error."""
        return max(self.errors.items(), key=lambda item: item[1])

    @property
    def loss_error(self) -> float:
        """|loss − torch_loss| / |torch_loss|."""
        difference = abs(self.loss - self.torch_loss)
        return difference / abs(self.torch_loss) if difference else 0.0


class ParityMonitor(Callback):
    """Compare the gradients that manualgrad's layers compute with torch's, now and then while training.

    On a step that is observed, ``training_step`` first runs on a copy of the LightningModule whose layers are
    torch's, unswapped and unfused, with a copy of the batch, the same random state, buffers and autocast;
    then, as ever, on the module itself. After its backward, before clipping, per parameter of a layer ℓ::

        error = ‖g − g_torch‖ / ‖g_torch of all parameters of ℓ‖

    The layer's norm is the measure, because the gradient of a bias in front of BatchNorm is zero but for
    rounding, whose relative error says nothing.

    It is a copy, rather than the module with its classes changed and back, because a ``training_step`` may
    change what no one can put back: running statistics and metrics, but also counters and lists. The training
    run is bit for bit what it is without the monitor. Python's, NumPy's and torch's random states are put
    back. The copy has the same Trainer, but logs nothing; files that ``training_step`` writes it writes
    twice. On observed steps it costs an ordinary step of torch's and the memory of the model, its gradients
    and a batch.

    Compared are the layers, not calls of ``manualgrad.functional`` nor subclasses of your own. With
    accumulated batches the first of them is compared, whose gradient stands alone. Under a GradScaler both
    gradients are scaled.

    Args:
        every_n_steps: compare at each optimizer step whose number is a multiple of this.
        rtol: warn of errors above this. Default: 1e-9 in float64, 1e-3 in float32, 0.02 in float16, 0.1 in
            bfloat16, mixed or not: rounding makes a few times 1e-7 in float32, and much more where it decides
            which of two almost equal elements is the maximum of its window.

    Attributes:
        history: step (optimizer steps before it) -> :class:`Parity`. The Trainer's loggers, if any, get
            ``parity/gradient``, the worst error, and ``parity/loss``, the relative difference of the losses.

    Raises:
        ValueError: if ``every_n_steps`` is less than 1, or ``rtol`` not positive.
        MisconfigurationException: at the start of fit, with manual optimization or several processes, which
            average their gradients; while training, if the module or its batch cannot be copied.
    """

    RTOL: ClassVar = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}

    def __init__(self, every_n_steps: int = 100, rtol: float | None = None) -> None:
        _check_steps("ParityMonitor", every_n_steps)
        if rtol is not None and not rtol > 0:
            raise ValueError(f"ParityMonitor: rtol={rtol} must be positive")
        self.every_n_steps, self.rtol = every_n_steps, rtol
        self.history: dict[int, Parity] = {}
        self._next = 0
        self._unwrap: Callable[[], None] | None = None
        self._twin: _Twin | None = None
        self._loss = math.nan
        self._warned: set[str] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be compared."""
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                "ParityMonitor: automatic_optimization=False: it cannot know which gradients belong to a "
                "training_step that steps itself; compare with automatic optimization"
            )
        if not isinstance(trainer.strategy, SingleDeviceStrategy):
            raise MisconfigurationException(
                f"ParityMonitor: {type(trainer.strategy).__name__} averages or splits gradients between "
                "processes, and one process's cannot be compared: use devices=1, strategy='auto'"
            )
        self._next = 0
        if not unswappable(pl_module):
            log.warning(
                "ParityMonitor: no layer of this module is manualgrad's: nothing will differ from torch"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """On an observed step, let the next ``training_step`` run on the copy first."""
        self._forget()
        if trainer.global_step < self._next or batch_idx % trainer.accumulate_grad_batches:
            return
        own, step = vars(pl_module).get("training_step"), pl_module.training_step

        def unwrap() -> None:
            del pl_module.training_step
            if own is not None:
                pl_module.training_step = own
            self._unwrap = None

        @functools.wraps(step)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            unwrap()
            self._twin = _Twin(trainer, pl_module, args, kwargs)
            output = step(*args, **kwargs)
            loss = _loss(output)
            self._loss = math.nan if loss is None else float(loss.detach())
            return output

        self._unwrap = unwrap
        pl_module.training_step = training_step

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare."""
        twin, self._twin = self._twin, None
        if twin is None or twin.loss is None:
            return
        step = trainer.global_step
        self._next = (step // self.every_n_steps + 1) * self.every_n_steps
        gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.requires_grad}
        errors = compare(gradients, twin.gradients)
        self.history[step] = parity = Parity(self._loss, twin.loss, errors)
        worst, error = parity.worst if errors else ("", 0.0)
        for logger in trainer.loggers:
            logger.log_metrics({"parity/gradient": error, "parity/loss": parity.loss_error}, step=step)
        rtol = self.RTOL.get(twin.dtype, 1e-3) if self.rtol is None else self.rtol
        wrong = {name.rpartition(".")[0] for name, value in errors.items() if value > rtol}
        layer = worst.rpartition(".")[0]
        if wrong and layer not in self._warned:
            self._warned.add(layer)
            last = max(wrong, key=lambda name: twin.calls.get(name, -1))
            log.warning(
                "ParityMonitor: at step %d the gradient of %s differs from torch's by %.1e (rtol %.0e), the "
                "loss by %.1e; of %d such layers %s is nearest to the loss: it or a layer behind it is wrong",
                *(step, worst, error, rtol, parity.loss_error, len(wrong), last),
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how large the worst error of all was."""
        self._forget()
        steps = [step for step, parity in self.history.items() if parity.errors]
        if steps:
            step = max(steps, key=lambda step: self.history[step].worst[1])
            worst = (len(steps), *self.history[step].worst, step)
            log.info("ParityMonitor: compared %d steps with torch; the worst: %s by %.1e at step %d", *worst)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the module as it was."""
        self._forget()

    def _forget(self) -> None:
        self._twin = None
        if self._unwrap is not None:
            self._unwrap()


class _Twin:
    """Loss and gradients by torch's derivatives, of a copy of a LightningModule."""

    def __init__(self, trainer: Trainer, pl_module: LightningModule, args: tuple, kwargs: dict) -> None:
        device = pl_module.device.type
        autocast = torch.is_autocast_enabled(device)
        own = next((p.dtype for p in pl_module.parameters()), torch.float32)
        self.dtype = torch.get_autocast_dtype(device) if autocast else own
        self.calls: dict[str, int] = {}
        with isolate_rng(), torch.compiler.set_stance("force_eager"):
            twin, args, kwargs = self._copies(trainer, pl_module, args, kwargs)
            loss = _loss(twin.training_step(*args, **kwargs))
            self.loss = None if loss is None else float(loss.detach())
            if loss is None:
                return
            loss = loss / trainer.accumulate_grad_batches
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            with torch.autocast(device, enabled=False):
                twin.backward(loss if scaler is None else scaler.scale(loss))
        self.gradients = {name: p.grad for name, p in twin.named_parameters()}

    def _copies(self, trainer: Trainer, pl_module: LightningModule, args: tuple, kwargs: dict) -> tuple:
        quiet = copy.copy(trainer)
        quiet.loggers = [DummyLogger() for _ in trainer.loggers]
        try:
            # One memo: what the batch shares with the module stays shared.
            twin, args, kwargs = copy.deepcopy((pl_module, args, kwargs), {id(trainer): quiet})
        except Exception as error:
            raise MisconfigurationException(
                f"ParityMonitor: {type(pl_module).__name__} or its batch cannot be copied by copy.deepcopy: "
                f"{error}"
            ) from error
        unfuse(twin)
        unswap(twin)
        for name, module in twin.named_modules():
            if isinstance(module, LightningModule):
                if module._compiler_ctx is not None:
                    for method in COMPILED:
                        vars(module).pop(method, None)
                module.trainer = quiet
                module.log = module.log_dict = lambda *args, **kwargs: None
            module.register_forward_hook(functools.partial(self._called, name))
        for p in twin.parameters():
            p.grad = None
        return twin, args, kwargs

    def _called(self, name: str, *_: Any) -> None:
        self.calls.setdefault(name, len(self.calls))


def compare(gradients: Mapping[str, Tensor | None], torchs: Mapping[str, Tensor | None]) -> dict[str, float]:
    """The errors of :class:`ParityMonitor`, by parameter.

    Args:
        gradients: parameter -> gradient, or None.
        torchs: the same by torch.
    """
    squares: dict[str, float] = {}
    for name, g in torchs.items():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + (0.0 if g is None else _norm([g]) ** 2)
    errors = {}
    for name, g in gradients.items():
        expected, size = torchs[name], math.sqrt(squares[name.rpartition(".")[0]])
        if g is None and expected is None:
            continue
        if g is None or expected is None:
            difference = _norm([x for x in (g, expected) if x is not None])
        else:
            difference = _norm([g - expected])
        if not math.isfinite(size):
            errors[name] = math.inf if g is None or math.isfinite(_norm([g])) else 0.0
        elif not math.isfinite(difference):
            errors[name] = math.inf
        else:
            errors[name] = difference / size if size else math.inf if difference else 0.0
    return errors


def draw_gradient_flow(
    history: Mapping[int, Mapping[str, Mapping[str, float]]],
    flags: Mapping[str, Mapping[str, int]],
    path: Path,
) -> None:
    """Draw what a :class:`GradientFlow` measured: gradients and updates over the steps, a line per layer.

    Args:
        history: its ``history``.
        flags: its ``flags``; where they begin is marked.
        path: the PNG to write; its folder is made.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    steps = sorted(history)
    layers = list(dict.fromkeys(name for step in steps for name in history[step]))
    # Its last tenth, yellow, is hard to see on white.
    shades = [0.9 * k / max(1, len(layers) - 1) for k in range(len(layers))]
    colors = dict(zip(layers, colormaps["viridis"](shades)))
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    gradient, update = axes = figure.subplots(1, 2)
    for panel, key in zip(axes, ("rms", "update")):
        for name in layers:
            values = [history[step].get(name, {}).get(key, math.nan) for step in steps]
            values = [value if 0 < value < math.inf else math.nan for value in values]
            style = {"color": colors[name], "linewidth": 1.3, "marker": "." if len(steps) <= 40 else ""}
            panel.plot(steps, values, **style)
            for kind, marker in {"vanishing": "v", "exploding": "^"}.items():
                since = flags[kind].get(name)
                if key == "rms" and since in steps:
                    where = [since], [values[steps.index(since)]]
                    panel.plot(
                        *where, marker, color="tab:red", markersize=7, markeredgecolor="white", zorder=3
                    )
        panel.set(yscale="log", xlabel="training step (optimizer steps)")
        panel.grid(alpha=0.3)
    gradient.set(title="Gradient of each layer", ylabel="root mean square of the gradient's elements")
    update.set(title="Update of each layer", ylabel="‖Δw‖ / ‖w‖ of a step (no point: 0)")
    update.axhline(1e-3, color="black", linestyle="--", linewidth=1)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    update.annotate(
        "0.001", (0.99, 1e-3), xycoords=("axes fraction", "data"), ha="right", va="center", bbox=box
    )
    if len(layers) <= 12:
        lines = [Line2D([], [], color=colors[name]) for name in layers]
        figure.legend(lines, [_short(name) for name in layers], loc="outside right center", title="layer")
    else:
        bounds = [k - 0.5 for k in range(len(layers) + 1)]
        scale = ScalarMappable(BoundaryNorm(bounds, len(layers)), ListedColormap(list(colors.values())))
        named = sorted({round(k * (len(layers) - 1) / 11) for k in range(12)})
        bar = figure.colorbar(scale, ax=list(axes), ticks=named, aspect=40, pad=0.01)
        bar.ax.set_yticklabels([_short(layers[k]) for k in named])
        bar.ax.invert_yaxis()
        bar.ax.set_title("layer", size=10)
    said = [
        f"{mark} {kind}: {_some([name for name in layers if name in flags[kind]])}"
        for kind, mark in {"vanishing": "▼", "exploding": "▲"}.items()
        if flags[kind]
    ]
    if said:
        figure.suptitle("\n".join(said), color="tab:red", size=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def unswappable(model: nn.Module) -> bool:
    """Whether ``model`` has a layer of manualgrad's that :func:`manualgrad.unswap` makes torch's."""
    return any(type(module) in TORCHS for module in model.modules())


def _short(name: str, most: int = 32) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]


def _some(names: list[str], most: int = 4) -> str:
    if len(names) <= most:
        return ", ".join(map(_short, names))
    return f"{len(names)} layers, {', '.join(map(_short, names[: most - 1]))} … {_short(names[-1])}"


def _check_steps(callback: str, every_n_steps: int) -> None:
    if every_n_steps < 1:
        raise ValueError(f"{callback}: every_n_steps={every_n_steps} must be at least 1")


def _loss(output: Any) -> Tensor | None:
    return output["loss"] if isinstance(output, Mapping) else output


def _norm(tensors: Iterable[Tensor | None]) -> float:
    """√Σ x² over all elements, summed in float64 where there is one."""
    norms = []
    for x in tensors:
        assert x is not None
        values = x.coalesce().values() if x.is_sparse else x
        dtype = None if values.device.type == "mps" else torch.float64
        norms.append(float(torch.linalg.vector_norm(values.detach(), dtype=dtype)))
    return math.sqrt(sum(norm**2 for norm in norms))
