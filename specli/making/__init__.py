"""Drafts made from a target itself: fewer blocks, smaller weights, the same vocabulary."""
