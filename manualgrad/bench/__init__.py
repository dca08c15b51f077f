"""Time and memory against torch.nn, measured side by side: ``python -m manualgrad bench``."""
