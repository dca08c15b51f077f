"""``python -m recipes``: see ``recipes/cli.py``."""

import sys

try:
    if sys.argv[1:] == ["list"]:  # without Lightning, which takes seconds to import
        from recipes.overview import main
    else:
        from recipes.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; the recipes need: pip install -e '.[recipes]'")

sys.exit(main())
