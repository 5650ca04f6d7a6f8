"""Decides every round: who drafts, how far, and what is verified."""
