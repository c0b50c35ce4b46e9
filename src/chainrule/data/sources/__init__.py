"""Data that are read while a network trains on them: see source.py for what a Source is."""

from chainrule.data.sources.source import Block, Field, Order, Source

__all__ = ["Block", "Field", "Order", "Source"]
