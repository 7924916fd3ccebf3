"""Says hello, in C."""

from fastgreeter._greeting import greeting

__all__ = ["greeting"]
