"""GGUF headers read in plain Python, so that no broken file reaches llama.cpp."""
