"""Train MNIST classifiers with hand-written derivatives: ``python -m recipes --help``."""

import contextlib

from recipes.compat import import_torchvision

# Lightning imports torchvision, so every module here that imports Lightning needs it to work.
with contextlib.suppress(ImportError):
    import_torchvision()
