"""The target's choice of a token, the same for every drafter: parameters, noise, chain."""
