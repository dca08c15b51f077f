"""One page per family of layers. On a page, per layer, in this order: Function, functional, Module."""
