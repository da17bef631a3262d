"""`python -m serving.stack.gateway_process FOLDER NUMBER`: becomes one Envoy of a gateway, so that what the stack keeps
is Envoy itself."""

from __future__ import annotations

import sys
from pathlib import Path

from model.errors import MgoeError
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder


def main() -> None:
    """The configuration is the folder's own: it names the experiment that the gateway was last told."""
    folder = GatewayFolder(Path(sys.argv[1]), int(sys.argv[2]))
    try:
        Envoy(folder, folder.config()).become()
    except MgoeError as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
