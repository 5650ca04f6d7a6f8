"""Devices of other machines, for a target that one machine cannot hold."""

from __future__ import annotations

from specli.llama import library, rpc
from specli.options import Options


def with_servers(options: Options) -> Options:
    """Connect the RPC servers that the options name; a draft stays here unless they place it.

    A draft takes a round trip for every token that it proposes, a target one for a whole round.

    Raises what `rpc.connect` raises.
    """
    if not options.rpc:
        return options
    rpc.connect(options.rpc, insecure=bool(options.rpc_insecure))
    here = [one.name for one in library.devices() if one.is_gpu and not one.is_remote]
    return options.but(device_draft=options.device_draft or ",".join(here) or "none")
