"""Studies: small experiments that make the textbook's sentences visible. Each file is a page to read."""
