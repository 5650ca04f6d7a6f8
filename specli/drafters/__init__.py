"""One file per drafting method, all with the protocol of `protocol.py`."""
