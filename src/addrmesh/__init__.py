"""addrmesh: an active-active address service for Chinese addresses."""

__version__ = "0.1.0"
