"""Any classification network of torchvision, adapted to digits."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from recipes.classifier import Classifier
from recipes.compat import import_torchvision

__all__ = ["Pretrained", "adapt"]


class Resized(nn.Module):
    """Images, enlarged for ``net``, which was made for photographs.

    Args:
        net: the network.
        size: height and width it gets, in pixels.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, x: Tensor) -> Tensor:
        """The network's output for x (B, 1, 28, 28)."""
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        logits = self.net(x)
        # GoogLeNet and Inception have further outputs in training.
        return logits if isinstance(logits, Tensor) else logits.logits


def adapt(net: nn.Module, classes: int) -> None:
    """Let a network of torchvision take images of one channel and return ``classes`` logits, in place.

    The weights of the first convolution are summed over the colours: a grey image, three equal channels,
    gives what it gave before. The last linear map is a new one.

    Raises:
        ValueError: the network has no convolution that takes 3 channels.
    """
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    last = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Linear)][-1:]
    if first is None:
        raise ValueError(f"{type(net).__name__} has no convolution that takes 3 channels")
    first.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    first.in_channels = 1
    if hasattr(net, "transform_input"):
        # GoogLeNet and Inception normalize colours by it.
        net.transform_input = False  # pyright: ignore[reportArgumentType]
    if last:
        ((name, linear),) = last
        net.set_submodule(name, nn.Linear(linear.in_features, classes))
    else:
        # SqueezeNet classifies by a convolution.
        name, conv = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d)][-1]
        net.set_submodule(name, nn.Conv2d(conv.in_channels, classes, kernel_size=1))


class Pretrained(Classifier):
    """A network of torchvision, its first layer adapted to one channel and its last to ten digits.

    Args:
        architecture: a name of torchvision.models, such as resnet18 or mobilenet_v3_small.
        weights: which of its weights to start from, fetched once; null draws them at random.
        size: height and width to which images are enlarged, in pixels.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(
        self, architecture: str = "resnet18", weights: str | None = "DEFAULT", size: int = 32, **options: Any
    ) -> None:
        super().__init__(**options)
        models = import_torchvision().models
        known = models.list_models(module=models)
        if architecture not in known:
            raise ValueError(f"--model.architecture {architecture}: give one of {', '.join(known)}")
        try:
            net = models.get_model(architecture, weights=weights)
        except OSError as error:
            raise ValueError(
                f"--model.weights {weights}: cannot fetch the weights of {architecture} ({error}); "
                "--model.weights null begins with random ones"
            ) from error
        adapt(net, classes=10)
        self.net = Resized(net, size)
