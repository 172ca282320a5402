"""Optuna's gRPC proxy in front of a database, with the cache that its documentation recommends."""

from __future__ import annotations

import sys

from optuna.storages import get_storage, run_grpc_proxy_server


def main() -> None:
    """Serve until killed; arguments: the URL of the database, the port."""
    url, port = sys.argv[1:]
    run_grpc_proxy_server(get_storage(url), host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main()
