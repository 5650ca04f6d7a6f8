"""Draft heads: drafters that read the target's hidden states. One file per kind."""
