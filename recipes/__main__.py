"""``python -m recipes``: see ``recipes/cli.py``."""

import sys

try:
    from recipes.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; the recipes need: pip install -e '.[recipes]'")

sys.exit(main())
