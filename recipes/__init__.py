"""Train on MNIST with hand-written derivatives: ``python -m recipes --help``."""

import contextlib

# Lightning imports torchvision, so every module here that imports Lightning needs it to work.
with contextlib.suppress(ImportError):
    from recipes.compat import import_torchvision

    import_torchvision()
