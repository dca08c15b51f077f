"""torchvision's networks, swapped, compute what they computed: float64, train mode, every gradient."""

import copy
import warnings

import pytest
import torch
from torch.testing import assert_close
from torchvision import models

import manualgrad
from manualgrad.swap import TORCHS

NETWORKS = {
    "resnet18": (lambda: models.resnet18(), 64),
    "vgg11_bn": (lambda: models.vgg11_bn(), 64),
    "densenet121": (lambda: models.densenet121(), 64),
    "mobilenet_v2": (lambda: models.mobilenet_v2(), 64),
    "convnext_tiny": (lambda: models.convnext_tiny(), 64),
    "vit_b_16": (lambda: models.vit_b_16(image_size=64), 64),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The pynvml package is deprecated")
        yield


def outcome(model, images, labels):
    torch.manual_seed(1)  # dropout, stochastic depth
    output = model(images)
    loss = torch.nn.functional.cross_entropy(output, labels)
    return output.detach(), dict(
        zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())))
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    create, size = NETWORKS[name]
    torch.manual_seed(0)
    model = create().double().train()
    original = copy.deepcopy(model)
    kinds = [type(m) for m in model.modules()]
    images, labels = torch.randn(4, 3, size, size, dtype=torch.float64), torch.tensor([0, 1, 2, 999])

    report = manualgrad.swap(model)
    assert report.changed
    assert {type(m) for m in model.modules()} & set(TORCHS) == set(report.changed.values())
    expected, expected_grads = outcome(original, images, labels)
    got, grads = outcome(model, images, labels)

    assert_close(got, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())
    assert grads.keys() == expected_grads.keys()
    for parameter, grad in grads.items():
        # A bias in front of batch norm has gradient 0: what both compute is the rounding of larger numbers.
        weight = expected_grads.get(parameter.replace("bias", "weight"), grad)
        scale = max(expected_grads[parameter].abs().max().item(), 1e-3 * weight.abs().max().item())
        assert (grad - expected_grads[parameter]).abs().max().item() <= 1e-8 * scale, parameter

    fresh = create().double()
    fresh.load_state_dict(model.state_dict())
    model.load_state_dict(original.state_dict())
    assert_close(model.state_dict(), original.state_dict(), rtol=0, atol=0)
    manualgrad.unswap(model)
    assert [type(m) for m in model.modules()] == kinds
