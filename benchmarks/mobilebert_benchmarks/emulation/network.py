"""Whether a program failed for want of a network: that, and no other failure, is a reason to do without it."""

import re

# As apt and pip write it. What only a resolver says is left out: sudo says it too, of this machine's own name.
_UNREACHABLE = re.compile(
    r"could not (resolve|connect)|unable to connect|cannot initiate the connection|temporary failure resolving"
    r"|failed to establish a new connection|connection (timed out|failed|refused|reset|aborted)|network is unreachable"
    r"|no route to host|read timed out|(connect|read)timeout|proxyerror|from proxy",
    re.IGNORECASE,
)


def unreachable(said: str) -> bool:
    """Whether these words of apt or pip tell that no server could be reached.

    >>> unreachable("E: Unable to locate package qemu-user")
    False
    """
    return _UNREACHABLE.search(said) is not None
