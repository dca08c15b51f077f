"""fuse changes how chains are computed and nothing else, unfuse takes it back, and the report says what."""

import copy
import io
import pickle
import random

import pytest
import torch
import torch.nn.functional as F
from test_graph import nodes
from torch import nn
from torch.testing import assert_close

import manualgrad
from manualgrad.layers.add_layernorm import AddLayerNormFunction, add_layer_norm, add_normalize
from manualgrad.layers.batchnorm_activation import (
    BatchNormActivationEvalFunction,
    BatchNormActivationFunction,
)
from manualgrad.layers.conv_batchnorm import ConvBatchNorm, ConvBatchNormFunction, conv_batch_norm
from manualgrad.layers.linear_activation import (
    LinearActivationFunction,
    linear_activation,
    transform_activate,
)

torchvision_models = pytest.importorskip("torchvision.models", exc_type=ImportError)


class Net(nn.Module):
    """Functions in the place of modules, and a dropout that asks for the mode."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(36, 3)

    def forward(self, x, scale=None, *, shift=0.0):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = (self.bn2(self.conv2(x)) + x).relu()
        x = F.dropout(x, 0.5, training=self.training)
        x = x if scale is None else x * scale
        return self.fc(x.flatten(1)) + shift


class Residual(nn.Module):
    """One ReLU in two places, a sum in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        return self.relu(y)


class Tokens(nn.Module):
    """A norm in front of a step, with a sum that goes on past it, and one behind a step."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(64, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.before, self.between, self.behind = (nn.LayerNorm(6) for _ in range(3))
        self.feed = nn.Sequential(nn.Linear(6, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 6))

    def forward(self, x):
        x = F.leaky_relu(self.embed(x.flatten(2)), 0.1)
        x = x + torch.tanh(self.mix(self.before(x)))
        x = self.behind(torch.add(x, self.feed(self.between(x))))
        return F.gelu(self.head(x))


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
        nn.Conv2d(4, 2, 2),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


MODELS = {
    "net": Net,
    "residual": Residual,
    "sequential": sequential,
    "tokens": Tokens,
    "biased": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)
    ),
    "resnet18": lambda: torchvision_models.resnet18(num_classes=3),
}
CHAINS = {
    "net": {"bn1": ("BatchNorm2d", "relu", "max_pool"), "bn2": ("BatchNorm2d", "residual", "relu")},
    "residual": {"bn1": ("BatchNorm2d", "ReLU"), "bn2": ("BatchNorm2d", "residual", "ReLU")},
    "sequential": {"0.1": ("BatchNorm2d", "LeakyReLU", "MaxPool2d"), "2": ("BatchNorm2d", "ReLU")},
    "biased": {"0": ("Conv2d", "BatchNorm2d")},
    "tokens": {
        "embed": ("Linear", "leaky_relu"),
        "mix": ("Linear", "tanh"),
        "head": ("Linear", "gelu"),
        "between": ("add", "LayerNorm"),
        "behind": ("add", "LayerNorm"),
        "feed.0": ("Linear", "GELU"),
    },
}
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = MODELS[name]().double()
    return model, copy.deepcopy(model)


# Rounding grows from step to step where a channel has four values only.
STEPS = {"net": 3, "residual": 3, "sequential": 3, "tokens": 3, "biased": 3, "resnet18": 1}


def train(model: nn.Module, steps: int) -> list:
    """Outputs, gradients and buffers of some steps, of which the second one is in eval mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    found = []
    for step in range(steps):
        model.train(step != 1)
        torch.manual_seed(step)
        optimizer.zero_grad()
        output = model(IMAGES)
        output.sin().sum().backward()
        found += [output.detach(), *(p.grad.clone() for p in model.parameters())]
        found += [b.clone() for b in model.buffers()]
        optimizer.step()
    return found


def blocks(model: nn.Module) -> int:
    """How many blocks are in the graph of a call."""
    wanted = (
        AddLayerNormFunction,
        ConvBatchNormFunction,
        BatchNormActivationFunction,
        BatchNormActivationEvalFunction,
        LinearActivationFunction,
    )
    classes = [getattr(node, "_forward_cls", type(None)) for node in nodes([model(IMAGES)])]
    return sum(issubclass(cls, wanted) for cls in classes)


@pytest.mark.parametrize("swapped", [False, True], ids=["torch", "swapped"])
@pytest.mark.parametrize("name", MODELS)
def test_same_numbers(name, swapped):
    model, fused = pair(name)
    if swapped:
        manualgrad.swap(fused)
    report = manualgrad.fuse(fused)
    if name in CHAINS:
        assert report.fused == CHAINS[name]
        assert report.left == {}
    assert blocks(copy.deepcopy(fused)) == len(report.fused)
    assert_close(train(fused, STEPS[name]), train(model, STEPS[name]), rtol=1e-8, atol=1e-10)


@pytest.mark.kernels
@pytest.mark.parametrize("name", MODELS)
def test_same_numbers_with_kernels(name):
    model, fused = pair(name)
    manualgrad.fuse(fused)
    assert_close(train(fused, STEPS[name]), train(model, STEPS[name]), rtol=1e-8, atol=1e-10)


def test_resnet():
    report = manualgrad.fuse(MODELS["resnet18"]())
    assert str(report).splitlines()[:3] == [
        "fused 17 chains",
        "     9 BatchNorm2d + ReLU",
        "     8 BatchNorm2d + residual + ReLU",
    ]
    assert set(report.left) == {f"layer{k}.0.downsample.1" for k in (2, 3, 4)}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_else_changes(name):
    model, fused = pair(name)
    modules = list(fused.modules())
    state = {key: id(value) for key, value in fused.state_dict(keep_vars=True).items()}
    first = manualgrad.fuse(fused)
    assert list(fused.modules()) == modules
    assert {key: id(value) for key, value in fused.state_dict(keep_vars=True).items()} == state
    assert repr(fused) == repr(model)
    assert isinstance(fused, type(model))
    assert manualgrad.fuse(fused).fused == {}
    assert manualgrad.unfuse(fused).fused == first.fused
    assert [type(m) for m in fused.modules()] == [type(m) for m in model.modules()]
    assert [set(vars(m)) for m in fused.modules()] == [set(vars(m)) for m in model.modules()]


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("name", MODELS)
def test_copies(name):
    model, fused = pair(name)
    count = len(manualgrad.fuse(fused).fused)
    blocks(fused), model(IMAGES)
    for twin in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused)), saved_and_loaded(fused)):
        assert blocks(copy.deepcopy(twin)) == count
        assert_close(
            train(twin, STEPS[name]), train(copy.deepcopy(model), STEPS[name]), rtol=1e-8, atol=1e-10
        )
        assert len(manualgrad.unfuse(twin).fused) == count
        assert type(twin) is type(model)


def test_arguments():
    """Another call than with the tensors that have no default is the module's own forward."""
    model, fused = pair("net")
    model.eval(), fused.eval()
    manualgrad.fuse(fused)
    scale = torch.tensor(2.0, dtype=torch.float64)
    for args, kwargs, count in (
        ((IMAGES,), {}, 2),
        ((), {"x": IMAGES}, 2),
        ((IMAGES, scale), {}, 0),
        ((IMAGES,), {"scale": scale, "shift": 1.0}, 0),
    ):
        got = fused(*args, **kwargs)
        assert_close(got, model(*args, **kwargs), rtol=1e-10, atol=1e-10)
        functions = [getattr(node, "_forward_cls", type(None)) for node in nodes([got])]
        assert functions.count(BatchNormActivationEvalFunction) == count


@pytest.mark.parametrize("name", ["net", "residual", "sequential", "tokens"])
def test_compile(name):
    torch.compiler.reset()
    model, fused = pair(name)
    model.eval(), fused.eval()
    manualgrad.fuse(fused)
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True)
    assert_close(compiled(IMAGES), model(IMAGES), rtol=1e-10, atol=1e-10)
    torch.compiler.reset()


def test_later_changes_are_seen():
    """Hooks, other layers and more layers that come after fuse."""
    fused = sequential().double()
    manualgrad.fuse(fused)
    seen = []
    handle = fused[0][1].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    expected = fused(IMAGES)
    assert seen == [(4, 4, 6, 6)]
    handle.remove()
    fused[0][2] = nn.Tanh()
    assert not torch.equal(fused(IMAGES), expected)
    fused.append(nn.Softmax(1))
    assert_close(fused(IMAGES).sum(1), torch.ones(4, dtype=torch.float64))


class Chooses(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.bent = nn.BatchNorm2d(3), True

    def forward(self, x):
        y = self.norm(x)
        return F.relu(y) if self.bent else -y


def test_attributes_are_watched():
    model = Chooses()
    assert manualgrad.fuse(model).fused == {"norm": ("BatchNorm2d", "relu")}
    assert model(IMAGES.float()).min() == 0
    model.bent = False
    assert model(IMAGES.float()).min() < 0


class ChoosesByClass(nn.Module):
    bent, scale = True, 2.0

    def __init__(self):
        super().__init__()
        self.norm, self.table, self.factor = nn.BatchNorm2d(3), [torch.ones(2)], None
        self.register_parameter("shift", None)

    def forward(self, x):
        y = self.norm(x)
        y = F.relu(y) if self.bent and len(self.table) == 1 else -y
        y = y if self.factor is None else y * self.factor
        return (y if self.shift is None else y + self.shift) * self.scale


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bent", False),
        ("scale", 3.0),
        ("table", [torch.zeros(2)]),
        ("table", []),
        ("factor", nn.Parameter(torch.tensor(3.0))),
        ("shift", nn.Parameter(torch.tensor(3.0))),
    ],
    ids=lambda v: str(v)[:20],
)
def test_attributes_of_classes_and_missing_ones_are_watched(name, value):
    torch.manual_seed(0)
    model, expected = ChoosesByClass(), ChoosesByClass()
    assert manualgrad.fuse(model).fused == {"norm": ("BatchNorm2d", "relu")}
    for module in (model, expected):
        setattr(module, name, value)
    assert_close(model(IMAGES.float()), expected(IMAGES.float()))


class Branches(Chooses):
    def forward(self, x):
        return F.relu(self.norm(x)) if x.sum() > 0 else x


class Counts(Chooses):
    def forward(self, x):
        self.bent = False
        return F.relu(self.norm(x))


class Draws(Chooses):
    def forward(self, x):
        return F.relu(self.norm(x)) if random.random() < 0.5 else x


class Twice(Chooses):
    def forward(self, x):
        return F.relu(self.norm(self.norm(x)))


class Shared(Chooses):
    def forward(self, x):
        y = self.norm(x)
        return F.relu(y) + y


class Overwrites(Chooses):
    def forward(self, x):
        x = 2 * x
        y = self.norm(x)
        x.zero_()
        return F.relu(y) + x


class Exponential(nn.Module):
    def forward(self, x):
        return x.exp_()


class Writes(Chooses):
    """A layer of its own that writes, into a view of what the chain reads."""

    def __init__(self):
        super().__init__()
        self.layer = Exponential()

    def forward(self, x):
        x = 2 * x
        y = self.norm(x)
        self.layer(x.view(-1))
        return F.relu(y) + x


class SumInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.bent = nn.LayerNorm(8), True

    def forward(self, x):
        return self.norm((2 * x).add_(x))


class SumAssigned(SumInPlace):
    def forward(self, x):
        before = total = 2 * x
        total += x
        return self.norm(total) + before


class Assigns(SumInPlace):
    def forward(self, x):
        total = again = 2 * x + x
        again **= 2
        return self.norm(total)


class LinearShared(SumInPlace):
    def __init__(self):
        super().__init__()
        self.norm = nn.Linear(8, 8)

    def forward(self, x):
        y = self.norm(x)
        return F.relu(y) + y


@pytest.mark.parametrize(
    ("cls", "name", "reason"),
    [
        (Branches, "", "its forward cannot be traced: symbolically traced variables"),
        (Counts, "", "its forward sets self.bent"),
        (Draws, "", "its forward draws random numbers of its own, which would be drawn once"),
        (Twice, "norm", "called several times"),
        (Shared, "norm", "several users of its output"),
        (SumInPlace, "norm", "the sum in front of it is in place"),
        (SumAssigned, "norm", "the sum in front of it is in place"),
        (Assigns, "norm", "what it reads might be changed before the end of the chain"),
        (Writes, "norm", "what it reads might be changed before the end of the chain"),
        (LinearShared, "norm", "several users of its output"),
        (Overwrites, "norm", "what it reads might be changed before the end of the chain"),
    ],
)
def test_left_alone(cls, name, reason):
    model = cls()
    report = manualgrad.fuse(model)
    assert report.fused == {}
    assert report.left[name][1].startswith(reason)
    assert reason in str(report)
    assert type(model) is cls
    assert model.bent


def test_hooks_are_refused():
    model = sequential()
    model[2].register_forward_hook(lambda *args: None)
    report = manualgrad.fuse(model)
    assert set(report.fused) == {"0.1"}
    assert report.left == {"2": (nn.BatchNorm2d, "it has hooks")}


def test_misuse():
    for change in (manualgrad.fuse, manualgrad.unfuse):
        with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, but got builtin"):
            change(torch.relu)


def test_block_refuses_other_layers():
    norm = nn.BatchNorm2d(2)
    for layers in (
        (nn.ReLU(),),
        (norm, nn.Tanh()),
        (norm, nn.MaxPool2d(2), nn.ReLU()),
        (norm, nn.ReLU(), nn.MaxPool2d(3, 2)),
        (),
    ):
        with pytest.raises(TypeError, match="BatchNormActivation: expected a BatchNorm, then"):
            manualgrad.nn.BatchNormActivation(*layers)
    linear = nn.Linear(2, 2)
    for layers in ((linear,), (linear, nn.Softmax(1)), (nn.ReLU(), linear), (linear, nn.LeakyReLU(-1.0))):
        with pytest.raises(TypeError, match="LinearActivation: expected a Linear, then"):
            manualgrad.nn.LinearActivation(*layers)
    conv = nn.Conv2d(2, 2, 3)
    for layers in (
        (conv,),
        (norm, conv),
        (conv, nn.BatchNorm1d(2)),
        (nn.Conv2d(2, 2, 3, padding="same"), norm),
    ):
        with pytest.raises(TypeError, match="ConvBatchNorm: expected a convolution that pads with zeros"):
            ConvBatchNorm(*layers)


def test_blocks_hand_over():
    """Where tensors or layers do not fit a block, its parts run one after the other."""
    x, norm, linear = torch.randn(2, 4), nn.LayerNorm(4), nn.Linear(4, 4)
    y, s = add_normalize(x, 1.0, norm)
    assert_close((y, s), (norm(x + 1), x + 1))
    assert_close(add_normalize(x, x[:1], norm)[0], norm(x + x[:1]))
    assert_close(transform_activate(x, linear, nn.Softmax(1)), torch.softmax(linear(x), 1))
    image, conv, batch_norm = torch.randn(2, 3, 4, 4), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2).eval()
    conv.register_forward_hook(lambda module, args, output: output + 1)
    assert_close(ConvBatchNorm(conv, batch_norm)(image), batch_norm(conv(image)))
    linear.register_forward_hook(lambda module, args, output: output + 1)
    assert_close(transform_activate(x, linear, ("leaky_relu", 0.1)), F.leaky_relu(linear(x), 0.1))


def test_functions_refuse():
    x, weight = torch.randn(2, 4), torch.randn(3, 4)
    image, kernel, statistics = (
        torch.randn(2, 3, 4, 4),
        torch.randn(2, 3, 3, 3),
        (torch.zeros(3), torch.ones(3)),
    )
    for call, error, message in (
        (lambda: linear_activation(x, weight, None, "elu"), ValueError, "activation must be one of .* 'elu'"),
        (lambda: linear_activation(x, weight, None, "leaky_relu", -1.0), ValueError, "0 or more, but got -1"),
        (lambda: linear_activation(x, weight.T), RuntimeError, r"linear_activation: .* in_features=3"),
        (
            lambda: linear_activation(x, weight, torch.zeros(2, 3)),
            RuntimeError,
            r"have \[3, 4\] and \[2, 3\]",
        ),
        (
            lambda: conv_batch_norm(x, weight, None, None, None, training=True),
            RuntimeError,
            "one to three axes",
        ),
        (lambda: conv_batch_norm(image, kernel, None, *statistics), RuntimeError, "running_mean"),
        (
            lambda: conv_batch_norm(image, kernel, None, None, None),
            RuntimeError,
            "running_mean and running_var",
        ),
        (
            lambda: conv_batch_norm(
                image[:1], kernel[..., :2, :2], None, None, None, training=True, stride=3
            ),
            ValueError,
            "more than 1 value per channel",
        ),
        (lambda: add_layer_norm(x, x[:1], (4,)), RuntimeError, r"shape of the input, \[2, 4\]"),
        (lambda: add_layer_norm(x, x.double(), (4,)), RuntimeError, "residual"),
        (lambda: add_layer_norm(x, x, (3,)), RuntimeError, r"add_layer_norm: normalized_shape=\[3\]"),
    ):
        with pytest.raises(error, match=message):
            call()
