"""Import torchvision even where its compiled operators do not fit the installed torch."""

import importlib
import sys
from types import ModuleType

import torch

__all__ = ["import_torchvision"]

# A library's definitions last as long as the object does.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import and return torchvision; call it before ``import lightning``, which imports torchvision too.

    PyPI's torchvision beside a CPU-only torch cannot load its compiled operators and dies with "operator
    torchvision::nms does not exist". Only after it did, the two missing schemas are declared, which is all
    that its datasets, transforms and models need.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    _libraries.append(library)
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
