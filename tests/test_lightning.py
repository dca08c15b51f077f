"""The callbacks for Lightning, on small networks and random data."""

import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import manualgrad
from manualgrad.layers.normalization import LayerNormFunction
from manualgrad.lightning import GradientFlow, ParityMonitor, SwapLayers, draw_gradient_flow

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


@pytest.fixture(autouse=True)
def _alone():
    """Leave no process group behind, nor the variables by which a process knows its place in one."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


class Lit(LightningModule):
    """A classifier of 5 classes; its forward asks the Trainer, as many do."""

    def __init__(self, net: nn.Module, lr: float = 0.1, optimizer: str = "SGD") -> None:
        super().__init__()
        self.net, self.loss, self.lr, self.optimizer = net, nn.CrossEntropyLoss(), lr, optimizer
        self.losses: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log("mean", x.mean())
        return self.net(x)

    def training_step(self, batch, batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("loss", loss)
        self.losses.append(loss.item())
        return loss

    def test_step(self, batch, batch_idx: int) -> None:
        self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return getattr(torch.optim, self.optimizer)(self.net.parameters(), lr=self.lr)


class Gradients(Callback):
    """Keeps gradients as the optimizer would get them, before clipping, and the weights before the step."""

    def __init__(self) -> None:
        self.gradients, self.weights, self.classes = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.gradients.append(
            {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        )
        self.weights.append({n: p.detach().clone() for n, p in pl_module.named_parameters()})
        self.classes = [type(module) for module in pl_module.modules()]


def loader(steps: int = 6, shape: tuple[int, ...] = (16,), batch: int = 16) -> DataLoader:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(steps * batch, *shape, generator=generator)
    y = torch.randint(5, (steps * batch,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=batch)


def trainer(*callbacks: Callback, **options) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 1, "logger": False, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
    return Trainer(callbacks=list(callbacks), **(quiet | defaults | options))


def mlp(depth: int, activation: type[nn.Module] = nn.ReLU, gain: float | None = None) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        linear = nn.Linear(16, 16)
        if gain is not None:
            nn.init.normal_(linear.weight, std=gain / 4)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(16, 5))


def cnn() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)),
        *(nn.Flatten(), nn.Linear(36, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 5)),
    )


class Sine(nn.Module):
    """Bounded, and its slope is not small for large arguments: where weights are large gradients explode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture):
    """The lines that the callbacks log."""
    logger = logging.getLogger("lightning.pytorch.manualgrad")
    logger.addHandler(caplog.handler)
    yield lambda start: list(
        dict.fromkeys(r.getMessage() for r in caplog.records if r.getMessage().startswith(start))
    )
    logger.removeHandler(caplog.handler)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


# SwapLayers


def test_swaps_fuses_reports_once_and_gives_the_classes_back(said) -> None:
    model, swap, seen = Lit(cnn()), SwapLayers(), Gradients()
    before = [type(module) for module in model.modules()]
    run = trainer(swap, seen)
    run.fit(model, loader(2, (1, 8, 8)))
    assert manualgrad.nn.Conv2d in seen.classes
    assert nn.Conv2d not in seen.classes
    assert swap.swap_report.changed["net.0"] is manualgrad.nn.Conv2d
    assert swap.swap_report.changed["loss"] is manualgrad.nn.CrossEntropyLoss
    assert "net.1" in swap.fuse_report.fused
    assert [type(module) for module in model.modules()] == before
    run.test(model, loader(1, (1, 8, 8)), verbose=False)
    assert [type(module) for module in model.modules()] == before
    assert said("SwapLayers") == [
        "SwapLayers: swapped 10 layers, fused 1 chains (which and why: swap_report, fuse_report)"
    ]


def test_only_skip_and_staying_swapped() -> None:
    model = Lit(cnn())
    trainer(SwapLayers(fuse=False, only="net.*", skip=nn.LayerNorm, restore=False)).fit(
        model, loader(1, (1, 8, 8))
    )
    assert type(model.net[0]) is manualgrad.nn.Conv2d
    assert type(model.net[7]) is nn.LayerNorm
    assert type(model.loss) is nn.CrossEntropyLoss


def test_layers_of_configure_model_and_setup_are_swapped() -> None:
    class Late(Lit):
        def setup(self, stage: str) -> None:
            self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)

        def configure_model(self) -> None:
            if self.net is None:
                self.net = cnn()

    model, swap, seen = Late(None), SwapLayers(), Gradients()
    trainer(swap, seen).fit(model, loader(1, (1, 8, 8)))
    assert {"net.0", "net.6", "loss"} <= swap.swap_report.changed.keys()
    assert "net.1" in swap.fuse_report.fused
    assert manualgrad.nn.Linear in seen.classes
    assert type(model.net[0]) is nn.Conv2d


def test_an_exception_gives_the_classes_back() -> None:
    class Broken(Lit):
        def training_step(self, batch, batch_idx: int) -> torch.Tensor:
            raise RuntimeError("broken")

    model = Broken(cnn())
    with pytest.raises(RuntimeError, match="broken"):
        trainer(SwapLayers()).fit(model, loader(1, (1, 8, 8)))
    assert type(model.net) is nn.Sequential
    assert type(model.net[0]) is nn.Conv2d


def test_losses_are_torchs() -> None:
    curves = []
    for callbacks in ((), (SwapLayers(),)):
        model = Lit(cnn(), lr=0.05)
        torch.manual_seed(2)
        trainer(*callbacks).fit(model, loader(20, (1, 8, 8)))
        curves.append(model.losses)
    assert len(curves[0]) == 20
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert len(set(curves[0])) == 20


@pytest.mark.parametrize(("first", "then"), [([SwapLayers()], []), ([], [SwapLayers()])])
def test_checkpoints_resume_with_and_without(first: list, then: list) -> None:
    model = Lit(cnn(), optimizer="Adam", lr=0.01)
    run = trainer(*first)
    run.fit(model, loader(3, (1, 8, 8)))
    run.save_checkpoint("half.ckpt")
    assert torch.load("half.ckpt", weights_only=True)["state_dict"].keys() == Lit(cnn()).state_dict().keys()
    resumed = Lit(cnn(), optimizer="Adam", lr=0.01)
    run = trainer(*then, max_epochs=2)
    run.fit(resumed, loader(3, (1, 8, 8)), ckpt_path="half.ckpt", weights_only=True)
    assert run.global_step == 6
    assert len(resumed.losses) == 3


def test_a_forward_that_asks_the_trainer_is_not_fused_but_what_it_calls_is() -> None:
    class Flat(LightningModule):
        def __init__(self, ask: bool) -> None:
            super().__init__()
            self.ask, self.norm, self.relu = ask, manualgrad.nn.BatchNorm1d(4), manualgrad.nn.ReLU()
            self.net = nn.Sequential(manualgrad.nn.BatchNorm1d(4), manualgrad.nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.ask and self.current_epoch > 3:
                return x
            return self.net(self.relu(self.norm(x)))

    report = manualgrad.fuse(Flat(ask=True))
    assert set(report.fused) == {"net.0"}
    assert "asks the Trainer" in report.left[""][1]
    assert set(manualgrad.fuse(Flat(ask=False)).fused) == {"net.0", "norm"}


def test_swaps_under_ddp() -> None:
    seen = Gradients()
    trainer(SwapLayers(), seen, strategy="ddp").fit(Lit(cnn()), loader(2, (1, 8, 8)))
    assert manualgrad.nn.Conv2d in seen.classes


def test_swaps_and_compares_in_compiled_modules() -> None:
    class Plain(Lit):
        def training_step(self, batch, batch_idx: int) -> torch.Tensor:
            return self.loss(self.net(batch[0]), batch[1])

    part = Plain(mlp(2))
    part.net = torch.compile(part.net, backend="eager")
    for model in (part, torch.compile(Plain(mlp(2)), backend="eager")):
        seen, parity = Gradients(), ParityMonitor(every_n_steps=1)
        trainer(SwapLayers(), seen, parity).fit(model, loader(2))
        assert manualgrad.nn.Linear in seen.classes
        assert len(parity.history) == 2
        assert all(len(p.errors) == 4 and p.worst[1] < 1e-5 for p in parity.history.values())


# GradientFlow


def norm(tensors) -> float:
    return math.sqrt(sum(t.double().square().sum().item() for t in tensors))


@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 1e-3}, {"accumulate_grad_batches": 3}])
def test_norms_and_updates_are_those_of_the_step(options: dict) -> None:
    model, flow, seen = Lit(mlp(3), lr=0.1), GradientFlow(every_n_steps=1), Gradients()
    model.net[2].weight.requires_grad_(False)
    trainer(flow, seen, **options).fit(model, loader(6))
    steps = 6 // options.get("accumulate_grad_batches", 1)
    assert sorted(flow.history) == list(range(steps))
    for step, layers in flow.history.items():
        assert list(layers) == ["net.0", "net.2", "net.4"]
        total = norm(seen.gradients[step].values())
        clipped = min(1.0, options["gradient_clip_val"] / total) if "gradient_clip_val" in options else 1.0
        for name, values in layers.items():
            g = {n: g for n, g in seen.gradients[step].items() if n.startswith(f"{name}.")}
            assert set(g) == ({"net.2.bias"} if name == "net.2" else {f"{name}.weight", f"{name}.bias"})
            assert values["norm"] == pytest.approx(norm(g.values()), rel=1e-9)
            assert values["rms"] == pytest.approx(
                norm(g.values()) / math.sqrt(sum(x.numel() for x in g.values())), rel=1e-9
            )
            w = norm(seen.weights[step][n] for n in g)
            assert values["update"] == pytest.approx(0.1 * clipped * norm(g.values()) / w, rel=1e-3)


def test_the_first_layers_of_a_deep_sigmoid_network_vanish(said) -> None:
    flow = GradientFlow(every_n_steps=2, path="flow.png")
    trainer(flow).fit(Lit(mlp(30, nn.Sigmoid)), loader(8))
    assert sorted(flow.history) == [0, 2, 4, 6]
    flagged = [int(name.removeprefix("net.")) for name in flow.flags["vanishing"]]
    assert flagged == list(range(0, 2 * len(flagged), 2))
    assert 15 <= len(flagged) <= 26
    assert set(flow.flags["vanishing"].values()) == {0}
    assert flow.flags["exploding"] == {}
    (line,) = said("GradientFlow")
    assert line.startswith("GradientFlow: since step 0 vanishing: net.0 (")
    assert Path("flow.png").read_bytes().startswith(b"\x89PNG")


def test_too_large_weights_explode() -> None:
    flow = GradientFlow(every_n_steps=1)
    trainer(flow).fit(Lit(mlp(30, Sine, gain=3.0), lr=1e-12), loader(4))
    flagged = [int(name.removeprefix("net.")) for name in flow.flags["exploding"]]
    assert flagged == list(range(0, 2 * len(flagged), 2))
    assert 5 <= len(flagged) <= 25
    assert set(flow.flags["exploding"].values()) == {0}
    assert flow.flags["vanishing"] == {}


def test_nan_explodes_at_once_at_its_step(said) -> None:
    class Nan(Callback):
        def on_after_backward(self, trainer, pl_module) -> None:
            if trainer.global_step == 3:
                pl_module.net[2].weight.grad[0, 0] = math.nan

    flow = GradientFlow(every_n_steps=1)
    trainer(flow, Nan(), max_steps=4, max_epochs=-1).fit(Lit(mlp(3)), loader(6))
    assert flow.flags == {"vanishing": {}, "exploding": {"net.2": 3}}
    assert said("GradientFlow") == ["GradientFlow: since step 3 exploding: net.2 (not finite)"]


def test_steps_longer_than_the_weights_explode() -> None:
    flow = GradientFlow(every_n_steps=1)
    trainer(flow).fit(Lit(mlp(3), lr=1e-4, optimizer="SGD"), loader(4))
    assert flow.flags == {"vanishing": {}, "exploding": {}}
    model = Lit(mlp(3), lr=3.0, optimizer="Adam")
    trainer(flow := GradientFlow(every_n_steps=1)).fit(model, loader(1))
    assert flow.flags["exploding"] == {}  # one step shows it, not three
    assert all(layer["update"] > 1 for layer in flow.history[0].values())


def test_a_network_that_trains_well_has_no_flags(said) -> None:
    for net, shape in ((mlp(4), (16,)), (cnn(), (1, 8, 8))):
        flow = GradientFlow(every_n_steps=1)
        trainer(flow).fit(Lit(net), loader(12, shape))
        assert len(flow.history) == 12
        assert flow.flags == {"vanishing": {}, "exploding": {}}
    assert said("GradientFlow") == []


def test_gradients_are_unscaled_under_a_grad_scaler() -> None:
    histories = []
    for precision in ("32-true", "16-mixed"):
        flow = GradientFlow(every_n_steps=1)
        plugin = {"precision": precision}
        if precision == "16-mixed":
            from lightning.pytorch.plugins.precision import MixedPrecision

            plugin = {
                "plugins": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
            }
        trainer(flow, **plugin).fit(Lit(mlp(3)), loader(3))
        histories.append(flow.history)
    for name, values in histories[0][0].items():
        assert histories[1][0][name]["norm"] == pytest.approx(values["norm"], rel=0.02)
        assert histories[1][0][name]["update"] == pytest.approx(values["update"], rel=0.02)


def test_two_optimizers_are_both_observed() -> None:
    class Two(Lit):
        automatic_optimization = False

        def training_step(self, batch, batch_idx: int) -> None:
            x, y = batch
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(self.net(x), y))
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.SGD(self.net[k].parameters(), lr=0.1) for k in (0, 2)]

    model, flow = Two(mlp(2)), GradientFlow(every_n_steps=4)
    trainer(flow).fit(model, loader(6))
    assert sorted(flow.history) == [0, 4, 8]
    assert all(set(layers) == {"net.0", "net.2"} for layers in flow.history.values())
    with pytest.raises(MisconfigurationException, match="automatic_optimization=False"):
        trainer(ParityMonitor()).fit(model, loader(1))


def test_history_reaches_the_logger_and_the_resumed_run() -> None:
    flow = GradientFlow(every_n_steps=2)
    run = trainer(flow, logger=CSVLogger(".", name="logs", version=0))
    run.fit(Lit(mlp(2)), loader(4))
    header, *_ = Path("logs/version_0/metrics.csv").read_text().splitlines()
    assert {"gradient/net.0", "update/net.2"} <= set(header.split(","))
    assert Path("logs/version_0/gradient_flow.png").is_file()
    run.save_checkpoint("half.ckpt")
    resumed = GradientFlow(every_n_steps=2)
    trainer(resumed, max_epochs=2).fit(Lit(mlp(2)), loader(4), ckpt_path="half.ckpt", weights_only=True)
    assert sorted(resumed.history) == [0, 2, 4, 6]
    assert resumed.history[2] == flow.history[2]


def test_the_picture_is_drawn_also_on_ctrl_c_and_missed_without_matplotlib(said, monkeypatch) -> None:
    class CtrlC(Callback):
        def on_train_batch_end(self, trainer, *_) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        trainer(GradientFlow(every_n_steps=1, path="new/flow.png"), CtrlC()).fit(Lit(mlp(2)), loader(4))
    assert Path("new/flow.png").is_file()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    trainer(GradientFlow(every_n_steps=1, path="other.png")).fit(Lit(mlp(2)), loader(1))
    assert not Path("other.png").exists()
    assert len(said("GradientFlow: no picture drawn, matplotlib")) == 1


def test_pictures_of_many_layers_with_zeros_and_infinities(tmp_path: Path) -> None:
    layer = {"norm": 0.0, "rms": math.inf, "update": 0.0}
    history = {
        step: {f"encoder.blocks.{k}.attention.projection": layer for k in range(60)} for step in (0, 5)
    }
    draw_gradient_flow(history, {"vanishing": {}, "exploding": {}}, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000


# ParityMonitor


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}])
def test_honest_layers_agree_with_torch(options: dict, said) -> None:
    parity = ParityMonitor(every_n_steps=1)
    trainer(SwapLayers(), parity, **options).fit(Lit(cnn()), loader(6, (1, 8, 8)))
    assert sorted(parity.history) == list(range(6 // options.get("accumulate_grad_batches", 1)))
    for compared in parity.history.values():
        assert len(compared.errors) == 10
        assert compared.worst[1] < 1e-5
        assert compared.loss_error < 1e-6
    assert max(compared.worst[1] for compared in parity.history.values()) > 0
    assert not [line for line in said("ParityMonitor") if "differs" in line]


def test_bfloat16_is_compared_under_the_same_autocast() -> None:
    parity = ParityMonitor(every_n_steps=1)
    trainer(SwapLayers(), parity, precision="bf16-mixed").fit(Lit(cnn()), loader(3, (1, 8, 8)))
    assert all(compared.worst[1] < 0.1 for compared in parity.history.values())


def test_a_broken_layer_is_named(said, monkeypatch) -> None:
    honest = LayerNormFunction.backward

    def broken(ctx, *grad_outputs):
        return tuple(1.01 * g if isinstance(g, torch.Tensor) else g for g in honest(ctx, *grad_outputs))

    monkeypatch.setattr(LayerNormFunction, "backward", staticmethod(broken))
    parity = ParityMonitor(every_n_steps=2)
    trainer(SwapLayers(), parity).fit(Lit(cnn()), loader(4, (1, 8, 8)))
    assert sorted(parity.history) == [0, 2]
    errors = parity.history[0].errors
    assert errors["net.9.weight"] < 1e-5
    assert math.hypot(errors["net.7.weight"], errors["net.7.bias"]) == pytest.approx(0.01, rel=1e-2)
    assert errors["net.6.weight"] > 5e-3
    lines = [line for line in said("ParityMonitor") if "differs" in line]
    assert "at step 0" in lines[0]
    assert "net.7 is nearest to the loss" in lines[0]


@pytest.mark.parametrize("swap", [True, False])
def test_training_with_monitors_is_training_without_bit_for_bit(swap: bool) -> None:
    states, losses = [], []
    for monitors in ((), (GradientFlow(every_n_steps=2), ParityMonitor(every_n_steps=2))):
        model = Lit(cnn(), optimizer="Adam", lr=0.01)
        torch.manual_seed(5)
        trainer(*([SwapLayers()] if swap else []), *monitors, accumulate_grad_batches=2).fit(
            model, loader(8, (1, 8, 8))
        )
        states.append({**state(model), "random": torch.get_rng_state()})
        losses.append(model.losses)
    assert_same(*states)
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8
    assert "training_step" not in vars(model)


def test_what_cannot_be_compared_is_refused(said) -> None:
    with pytest.raises(MisconfigurationException, match=r"DDPStrategy averages.*devices=1"):
        trainer(ParityMonitor(), strategy="ddp").fit(Lit(mlp(2)), loader(1))
    model = Lit(mlp(2))
    model.cached = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(MisconfigurationException, match=r"Lit or its batch cannot be copied"):
        trainer(ParityMonitor(), SwapLayers()).fit(model, loader(1))
    assert "training_step" not in vars(model)
    trainer(ParityMonitor()).fit(Lit(mlp(2)), loader(1))
    assert any("no layer of this module is manualgrad's" in line for line in said("ParityMonitor"))


# Arguments and imports


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GradientFlow(every_n_steps=0), "every_n_steps=0 must be at least 1"),
        (lambda: GradientFlow(vanishing=2.0), r"vanishing=2\.0"),
        (lambda: ParityMonitor(every_n_steps=-1), "every_n_steps=-1"),
        (lambda: ParityMonitor(rtol=0.0), r"rtol=0\.0 must be positive"),
    ],
)
def test_wrong_arguments(make, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_lightning_is_imported_by_this_module_alone() -> None:
    package = Path(manualgrad.__file__).parent
    code = f"""
import sys
sys.path.insert(0, {str(package.parent)!r})
import manualgrad
assert not any(name.partition(".")[0] in ("lightning", "matplotlib") for name in sys.modules)
sys.modules["lightning"] = None
try:
    import manualgrad.lightning
except ModuleNotFoundError as error:
    assert str(error) == "manualgrad.lightning needs Lightning: pip install lightning", error
else:
    raise AssertionError
del sys.modules["lightning"]
sys.path.insert(0, {str(package)!r})
try:
    import manualgrad.lightning
except ImportError as error:
    assert "hides Lightning" in str(error), error
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
