"""One file per drafting method, all behind the protocol in `protocol.py`."""
