"""One page per family of layers. On a page, per layer, in this order: Function, functional, Module.

The docstring of a Function is its derivation, and the code below follows it, one equation a statement:

    Forward    what it computes
    Backward   how the gradient of the loss comes back through that
    Shapes     of all symbols; left out where the page says that they have the input's
    Saves      which tensors are kept for backward
    Source     who has it from where, if there is one work to name

Symbols that mean the same on every page:

    L              the loss, one number;   ∂L/∂x, which has the shape of x, is ``grad_x`` in code
    x, y, w, b     input, output, weight, bias
    g              ∂L/∂y, what arrives from the layers behind; a gradient of several uses is their sum
    δ_ij           1 where i = j, else 0
    [z > 0]        1 where the condition holds, else 0
    u ⊙ v          the product element by element
    (N, C, *)      a shape: N (or B) samples, C channels or classes, any number of further axes

Names without an underscore are parts of a formula, or shared with other pages; those with one check and
prepare the arguments of the page's own functionals. Pages with an underscore derive nothing: they hold what
several pages do with their arguments.
"""
