"""Speculative decoding for GGUF models over llama.cpp."""

__version__ = "0.2.0"
