"""The public Python API: requests of a host program in, finished texts out."""
