"""From files to engines: checks, loading, costs, and a session that owns all of it."""

from specli.session.session import Lane, Session
from specli.session.setup import Setup

__all__ = ["Lane", "Session", "Setup"]
