"""A model reference in, a local file out."""
