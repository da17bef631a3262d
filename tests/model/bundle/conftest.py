"""The packaged world, made once for this room."""

from tests.model.bundle.bundle_world import world

__all__ = ["world"]
