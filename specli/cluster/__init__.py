"""A batch on many machines, by Ray Data: `BatchEngine` is its callable, and needs no Ray itself."""

from specli.cluster.engine import BatchEngine

__all__ = ["BatchEngine"]
