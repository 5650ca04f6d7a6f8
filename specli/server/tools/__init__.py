"""Calls of functions: how models are told of them, and how they write them."""
