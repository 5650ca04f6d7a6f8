"""The round loop: propose, verify, accept, commit. No printing, no files, no network."""
