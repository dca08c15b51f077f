"""swap changes classes and nothing else, unswap takes it back, and the report says what was left alone."""

import pytest
import torch
from rows import DERIVED, build, call
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

import manualgrad
from manualgrad.swap import TORCHS


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(18, 3),
    )


def types(model: nn.Module) -> list[type]:
    return [type(m) for m in model.modules()]


IMAGE = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in DERIVED if row.module and not row.counterpart]
)
def test_single_layer(row):
    case = row.cases[0]
    module, inputs = build(case, row.torch_module)
    expected = call(module, inputs, case)
    report = manualgrad.swap(module)
    assert row.module in report.changed.values()
    assert not report.left
    assert_close(call(module, inputs, case), expected, rtol=1e-10, atol=1e-10)
    manualgrad.unswap(module)
    assert row.torch_module in types(module)
    assert not set(types(module)) & set(TORCHS)


def test_same_objects_and_unswap():
    model = small()
    before, ids = types(model), {k: id(v) for k, v in model.state_dict(keep_vars=True).items()}
    report = manualgrad.swap(model)
    assert len(report.changed) == 5
    assert {k: id(v) for k, v in model.state_dict(keep_vars=True).items()} == ids
    assert manualgrad.unswap(model).changed.keys() == report.changed.keys()
    assert types(model) == before


def test_report():
    class Own(nn.Linear):
        pass

    patched = nn.Linear(2, 2)
    patched.forward = lambda x: 2 * x
    model = nn.ModuleDict(
        {
            "a": nn.Linear(2, 2),
            "b": nn.Linear(2, 2),
            "own": Own(2, 2),
            "parametrized": parametrizations.weight_norm(nn.Linear(2, 2)),
            "lazy": nn.LazyLinear(2),
            "complex": nn.Linear(2, 2, dtype=torch.complex64),
            "pruned": prune.l1_unstructured(nn.Linear(2, 2), "weight", 1),
            "flat": nn.Flatten(),
            "patched": patched,
        }
    )
    report = manualgrad.swap(model)
    assert set(report.changed) == {"a", "b", "lazy", "pruned"}
    assert {name: reason for name, (_, reason) in report.left.items()} == {
        "own": "subclass of Linear: its forward may be its own",
        "parametrized": "parametrized: remove the parametrization first",
        "complex": "complex parameters",
        "patched": "its forward was replaced on the instance",
    }
    text = str(report)
    assert text.startswith("swapped 4 layers\n     1 LazyLinear\n     3 Linear\nleft alone 4 layers\n")
    assert "     1 Own: subclass of Linear: its forward may be its own (own)" in text


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"only": nn.Linear}, {"5"}),
        ({"only": (nn.Linear, "0")}, {"0", "5"}),
        ({"only": "[0-3]"}, {"0", "1", "2", "3"}),
        ({"skip": nn.Conv2d}, {"1", "2", "3", "5"}),
        ({"skip": ["0", nn.Linear]}, {"1", "2", "3"}),
        ({"only": "[0-3]", "skip": nn.ReLU}, {"0", "1", "3"}),
    ],
)
def test_selection(selection, expected):
    model = small()
    report = manualgrad.swap(model, **selection)
    assert set(report.changed) == expected
    assert {n for n, m in model.named_modules() if type(m).__module__.startswith("manualgrad.")} == expected


def test_misuse():
    with pytest.raises(
        TypeError, match="only takes classes of modules and patterns of qualified names, but got 3"
    ):
        manualgrad.swap(small(), only=3)
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, but got builtin"):
        manualgrad.swap(torch.relu)


def test_context_manager():
    model = small()
    model[5].__class__ = manualgrad.nn.Linear  # ours before, and so ours afterwards
    before = types(model)
    with manualgrad.swapped(model) as report:
        assert len(report.changed) == 4
        assert type(model[0]) is manualgrad.nn.Conv2d
    assert types(model) == before


def test_context_manager_restores_after_an_error():
    model = small()
    before = types(model)
    with pytest.raises(RuntimeError, match="conv2d"), manualgrad.swapped(model):
        model(torch.zeros(3))
    assert types(model) == before


def test_tied_and_reused_modules():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.mix = nn.Linear(4, 4)
            self.again = self.mix
            self.out = nn.Linear(4, 5, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, index):
            return self.out(self.again(self.mix(self.embed(index))))

    torch.manual_seed(0)
    model, index = Tied().double(), torch.tensor([0, 3, 3])

    def grads():
        return torch.autograd.grad(model(index).sin().sum(), list(model.parameters()))

    expected = grads()
    manualgrad.swap(model)
    assert model.again is model.mix
    assert model.out.weight is model.embed.weight
    assert_close(grads(), expected, rtol=1e-10, atol=1e-10)


def test_hooks_optimizer_and_eval():
    seen = []
    model = small()
    model[5].register_forward_hook(lambda module, args, output: seen.append("forward"))
    model[5].register_full_backward_hook(lambda module, grads_in, grads_out: seen.append("backward"))
    model[0].weight.register_hook(lambda g: seen.append("tensor"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model[0].weight.detach().clone()
    manualgrad.swap(model)
    model(IMAGE).sum().backward()
    optimizer.step()
    assert sorted(seen) == ["backward", "forward", "tensor"]
    assert not torch.equal(model[0].weight, before)
    model.eval()
    ours = model(IMAGE)
    assert not model[1].training
    manualgrad.unswap(model)
    assert_close(model(IMAGE), ours)


def test_state_dict_loads_both_ways():
    ours, theirs = small(), small()
    manualgrad.swap(ours)
    ours(IMAGE)
    theirs.load_state_dict(ours.state_dict())
    assert_close(theirs.state_dict(), ours.state_dict(), rtol=0, atol=0)
    theirs(IMAGE)
    ours.load_state_dict(theirs.state_dict())
    assert_close(theirs.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_compiled_wrapper():
    """A model that is compiled already is swapped inside, and what was compiled before is not used again."""
    torch.compiler.reset()
    model = small().eval()
    compiled = torch.compile(model, backend="aot_eager")
    expected = compiled(IMAGE)
    report = manualgrad.swap(compiled)
    assert set(report.changed) == {f"_orig_mod.{k}" for k in (0, 1, 2, 3, 5)}
    calls = []
    original = manualgrad.layers.linear.linear
    try:
        manualgrad.layers.linear.linear = lambda *args: calls.append(1) or original(*args)
        assert_close(compiled(IMAGE), expected)
    finally:
        manualgrad.layers.linear.linear = original
    assert calls
    torch.compiler.reset()


def test_double_swap_changes_nothing():
    model = small()
    manualgrad.swap(model)
    before = types(model)
    report = manualgrad.swap(model)
    assert types(model) == before
    assert report.changed == {}
    assert report.left == {}


class DoubledReLU(nn.ReLU):
    """A backward that is not the derivative: twice of it."""

    def forward(self, input):
        y = input.relu()
        return 2 * y - y.detach()


def test_rules_change_what_they_name_and_nothing_else():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Sequential(nn.Tanh(), nn.ReLU()))
    x, rules, before = torch.randn(5, 3), {nn.ReLU: DoubledReLU}, types(model)
    expected, (grad,) = model(x), torch.autograd.grad(model(x).sum(), model[0].weight)
    ids = {k: id(v) for k, v in model.state_dict(keep_vars=True).items()}
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(module.inplace))
    report = manualgrad.swap(model, rules=rules)
    assert report.changed == {"1": DoubledReLU, "2.1": DoubledReLU}
    assert report.left == {}
    assert [type(m) for m in (model[0], model[2][0])] == [nn.Linear, nn.Tanh]
    assert {k: id(v) for k, v in model.state_dict(keep_vars=True).items()} == ids
    assert_close(model(x), expected)
    assert_close(torch.autograd.grad(model(x).sum(), model[0].weight)[0], 4 * grad)
    assert seen == [True, True]
    again = manualgrad.swap(model, rules=rules)
    assert (again.changed, again.left) == ({}, {})
    assert manualgrad.unswap(model, rules=rules).changed == {"1": nn.ReLU, "2.1": nn.ReLU}
    assert types(model) == before


def test_rules_for_a_layer_of_torch_are_rules_for_ours():
    ours = manualgrad.nn.ReLU
    model = nn.Sequential(nn.ReLU(), ours(), nn.Linear(2, 2))
    manualgrad.swap(model, rules={nn.ReLU: DoubledReLU})
    assert types(model)[1:] == [DoubledReLU, DoubledReLU, nn.Linear]
    manualgrad.unswap(model, rules={nn.ReLU: DoubledReLU})
    assert types(model)[1:] == [nn.ReLU, nn.ReLU, nn.Linear]

    class DoubledOurs(ours):
        pass

    model = nn.Sequential(nn.ReLU(), ours())
    for rules in ({nn.ReLU: DoubledReLU, ours: DoubledOurs}, {ours: DoubledOurs, nn.ReLU: DoubledReLU}):
        with manualgrad.swapped(model, rules=rules):
            assert types(model)[1:] == [DoubledReLU, DoubledOurs]  # ours has one of its own
        assert types(model)[1:] == [nn.ReLU, ours]
    manualgrad.swap(model, rules={ours: DoubledOurs})
    assert types(model)[1:] == [nn.ReLU, DoubledOurs]
    manualgrad.unswap(model, rules={ours: DoubledOurs})
    assert types(model)[1:] == [nn.ReLU, nn.ReLU]


def test_rules_go_with_selections_and_leave_what_they_cannot_know():
    class Own(nn.ReLU):
        pass

    patched = nn.ReLU()
    patched.forward = torch.tanh
    complex_linear = nn.Linear(1, 1, dtype=torch.complex64)
    layers = {"a": nn.ReLU(), "b": nn.ReLU(), "own": Own(), "patched": patched, "complex": complex_linear}
    model = nn.ModuleDict(
        layers | {"plain": nn.Softmax(1), "norm": parametrizations.weight_norm(nn.Linear(1, 1))}
    )

    class Linear(nn.Linear):
        pass

    report = manualgrad.swap(model, rules={nn.ReLU: DoubledReLU, nn.Linear: Linear}, skip="b")
    assert report.changed == {"a": DoubledReLU, "complex": Linear}
    assert {name: reason for name, (_, reason) in report.left.items()} == {
        "b": "skipped, as asked",
        "own": "subclass of ReLU: its forward may be its own",
        "patched": "its forward was replaced on the instance",
        "norm": "parametrized: remove the parametrization first",
    }
    assert manualgrad.swap(model, rules={nn.ReLU: DoubledReLU}, only="b").changed == {"b": DoubledReLU}
    assert set(manualgrad.unswap(model, rules={nn.ReLU: DoubledReLU}, skip="a").changed) == {"b"}


def test_swapped_restores_what_rules_changed():
    model = nn.Sequential(nn.ReLU(), manualgrad.nn.ReLU(), DoubledReLU(), nn.LazyLinear(2))
    before = types(model)[:-1]
    with manualgrad.swapped(model, rules={nn.ReLU: DoubledReLU}) as report:
        assert set(report.changed) == {"0", "1"}
        manualgrad.swap(model)
        assert types(model)[1:4] == [DoubledReLU] * 3  # not ours: swap leaves them alone
        model(torch.zeros(1, 3))
    assert types(model)[:-1] == before
    assert types(model)[-1] in (nn.Linear, manualgrad.nn.Linear)  # no longer lazy


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([(nn.ReLU, DoubledReLU)], r"rules takes a mapping such as \{nn.ReLU: GuidedReLU\}, but got \["),
        ({"relu": DoubledReLU}, "rules takes classes of modules, but got 'relu'"),
        ({nn.ReLU: torch.relu}, "rules takes classes of modules, but got <built-in"),
        ({nn.ReLU: DoubledReLU()}, r"rules takes classes of modules, but got DoubledReLU\(\)"),
        ({nn.Tanh: DoubledReLU}, r"DoubledReLU is no subclass of it: write class DoubledReLU\(Tanh\)"),
    ],
)
def test_rules_that_are_none(rules, message):
    model = small()
    before = types(model)
    for change in (manualgrad.swap, manualgrad.unswap):
        with pytest.raises(TypeError, match=message):
            change(model, rules=rules)
    assert types(model) == before
