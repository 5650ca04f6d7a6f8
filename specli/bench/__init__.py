"""Measurements of pairs and settings, and what follows from them. No printing."""
