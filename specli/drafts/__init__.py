"""Drafts made without training: a requantised target, or another model's vocabulary replaced."""
