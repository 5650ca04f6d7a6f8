"""Many prompts in, one record each out: what `specli batch` does, without a terminal."""
