"""The kinds of mistake that check knows by name, and the line of advice that goes with each."""

from __future__ import annotations

__all__ = ["KINDS"]

KINDS = {
    "not written": "Fill in backward; until then nothing else can be said.",
    "wrong number of gradients": "backward returns one gradient for each argument of forward, None for "
    "those that are no tensors; without a return it returns a single None.",
    "None returned": "Return a gradient for every argument with ctx.needs_input_grad, also for parameters.",
    "wrong shape or dtype": "A gradient has the shape and dtype of its argument: one number for each of its "
    "elements. Autograd hides small differences by summing and casting.",
    "missing sum": "What forward uses several times (broadcast, or at every step) collects a gradient at "
    "each use: add them up, for a broadcast argument over the axes along which it was repeated.",
    "summed over too many": "Sum only over the axes along which forward repeated the argument; along its "
    "own axes, each element has a gradient of its own.",
    "wrong order": "backward returns its gradients in the order of forward's arguments.",
    "transposed": "Write the indices out: for y = x wᵀ, ∂L/∂w_ij = Σ_n g_ni x_nj, which is gᵀ x. Shapes "
    "tell it, if no two of them are equal.",
    "sign": "Look for a minus sign lost on the way: of a difference, a quotient, a negative logarithm.",
    "constant factor": "Look for an exponent not brought down, or for a mean, which passes 1/N of the "
    "gradient to each of its N elements, and a sum, which passes all of it.",
    "upstream gradient ignored": "backward gets ∂L/∂output and returns ∂L/∂input: multiply grad_output by "
    "the layer's own derivative.",
    "not linear in grad_output": "The chain rule multiplies: twice the grad_output gives twice the "
    "gradient, and its negative the negative. A rule that clips, masks or normalizes it is no "
    "derivative.",
    "local derivative forgotten": "grad_output passed through where it should be multiplied by the "
    "function's own derivative.",
    "derivative at the wrong point": "f′ belongs at the input. If it is written in terms of the output, as "
    "y (1 − y) for the sigmoid, then y goes in, not x.",
    "mask not applied": "What forward sets to zero gets no gradient, and what it scales gets a scaled one: "
    "apply the same mask, with the same factor, to the gradient.",
    "ties given to all": "Where several elements are the maximum, one of them gets the gradient, or all "
    "share it; they must not all get it whole.",
    "statistics as constants": "Mean and variance depend on every element that they are taken over: their "
    "derivatives belong to the chain rule.",
    "softmax diagonal": "Every input of a softmax moves every output: ∂y_i/∂x_j = y_i (δ_ij − y_j), so that "
    "grad_x = y (g − Σ g y).",
    "log clamped": "The derivative of log p is 1/p, however small p is, and where forward clamps it is 0: "
    "backward has to do as forward does.",
    "leaks across samples": "If no output depends on another sample, neither does a gradient: look for a "
    "sum, mean, reshape or index along the axis of samples.",
    "shifted window": "Write for one output which inputs it reads; backward sends to exactly these. Check "
    "start, stride, padding, and whether a kernel is to be flipped.",
    "raises": "backward fails before it returns; the message says where.",
    "saved tensor written into": "Save a tensor that nobody writes into afterwards, or a copy of it; and "
    "compute new tensors in backward, too, in place of changing some.",
    "saved intermediate": "Save inputs and outputs by ctx.save_for_backward, and compute from them in "
    "backward; what is computed in forward and kept on ctx is a constant, when backward is "
    "differentiated.",
    "not for vmap": "Under vmap, grad_output has one axis more than you see: use operations that take "
    "strides and batches as they come, such as reshape in place of view or flatten and stack in place "
    "of writing into zeros, and no .item() or data-dependent if.",
    "grad_output written into": "grad_output belongs to the caller, who may need it again: compute a new "
    "tensor.",
    "layout assumed": "Strides and shapes are the caller's choice: no as_strided, no view of a gradient, no "
    "axis taken for another one of the same length.",
    "accumulated in half": "Add up in float32 and round the result: in half precision a long sum stops "
    "growing.",
    "needs_input_grad misread": "ctx.needs_input_grad says which gradients to compute, in the order of "
    "forward's arguments; it must not change the others.",
}
