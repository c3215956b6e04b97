"""Spin coating of resist: a process of its own, which labkit finds by its entry point."""

from labkit_spin_coating.process import SpinCoating, SpinCoatingRecipe

__all__ = ["SpinCoating", "SpinCoatingRecipe"]
