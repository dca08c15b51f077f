"""What the cases of the catalog cannot reach, a table per page: options of functionals, autocast, errors.

A file here is named as a page of ``layers/``, or as the first page of a family. It has up to three tables of
functions of a namespace ``F``, which is manualgrad.functional and then torch.nn.functional, and must act the
same in both:

- ``SAME``: name -> (F, x) -> a tensor that depends on x, a matrix of (3, 4); value and gradient are compared;
- ``AUTOCAST``: name -> (F, x) -> a tensor, whose dtype under autocast is compared;
- ``ERRORS``: name -> (F -> a call that raises, what our message must match or None); the types are compared.
"""
