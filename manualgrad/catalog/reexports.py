"""What ``manualgrad.nn`` and ``manualgrad.functional`` take from torch as it is, and why."""

from __future__ import annotations

__all__ = ["FUNCTIONS", "INTERNAL", "MODULES"]

CONTAINER, PARAMETER = "a container: computes nothing", "a tensor with a role: computes nothing"

MODULES = {
    **dict.fromkeys(("Container", "ModuleDict", "ModuleList", "Sequential"), CONTAINER),
    **dict.fromkeys(("ParameterDict", "ParameterList"), CONTAINER),
    **dict.fromkeys(("Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"), PARAMETER),
    **dict.fromkeys(("Module", "RNNBase", "RNNCellBase"), "a base class: computes nothing"),
    **dict.fromkeys(("Flatten", "Unflatten"), "a view: the gradient is the same view of the gradient"),
    "Identity": "returns its input",
    "DataParallel": "runs a module on several devices: the module's layers do the computing",
    "LinearCrossEntropyOptions": "options of LinearCrossEntropyLoss: computes nothing",
}

FUNCTIONS = {
    "one_hot": "of integers, which have no derivative",
    **dict.fromkeys(("scaled_grouped_mm", "scaled_mm"), "of 8-bit floats: torch has no derivative either"),
}

# Names that torch.nn.functional happens to hold, and that are not for its users.
INTERNAL = {
    *("Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor"),
    *("assert_int_or_pair", "boolean_dispatch", "handle_torch_function"),
    *("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"),
}
