"""The only package that imports `llama_cpp`: thin, typed, owns every native handle.

Import the modules one by one: nothing is imported here, so that a command that needs no model
(`specli --help`) does not pay for loading the native library.
"""
