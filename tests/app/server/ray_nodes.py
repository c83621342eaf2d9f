"""`python -m tests.app.server.ray_nodes N`: a Ray cluster of N nodes on this machine, in a process of its own.

Its first line is the cluster's address. Then each line on standard input is a command, answered by a line of JSON:
`deploy {…}` (a configuration for Serve), `details` (what Serve says of it), `end I` (node I goes as when its plug is
pulled), `silence I` (its raylet stands still), `add` (one more node, its id is the answer). The end of input ends all.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client  # what Serve's own command line uses
from ray.serve.schema import ServeDeploySchema

from benchmarks.server import free_port

_NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "node_ip_address": "127.0.0.1",
    "dashboard_host": "127.0.0.1",
    "include_log_monitor": False,
}


# Ray prints on standard output what it has to say.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main() -> None:
    """Starts them, and does as it is told."""
    cluster = Cluster()
    head: dict[str, Any] = {"include_dashboard": False}
    if os.environ.get("DASHBOARD") == "1":  # as by `ray start --head`
        head = {"include_dashboard": True, "dashboard_port": 0, "ray_client_server_port": free_port()}
    nodes = [cluster.add_node(**_NODE, **head)]
    nodes += [cluster.add_node(**_NODE) for _ in range(int(sys.argv[1]) - 1)]
    ray.init(cluster.address, namespace="serve", log_to_driver=False, logging_level="error")
    say({"address": cluster.address, "dashboard": nodes[0].webui_url, "nodes": [node.node_id for node in nodes]})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "deploy":
            config = ServeDeploySchema(**json.loads(argument))
            serve.start(proxy_location=config.proxy_location, http_options=config.http_options.model_dump())
            _get_global_client().deploy_apps(config)
            say(None)
        elif command == "details":
            say(_get_global_client().get_serve_details())
        elif command == "end":
            cluster.remove_node(nodes[int(argument)], allow_graceful=False)
            say(None)
        elif command == "silence":
            (raylet,) = nodes[int(argument)].all_processes["raylet"]
            os.kill(raylet.process.pid, signal.SIGSTOP)
            say(None)
        elif command == "add":
            nodes.append(cluster.add_node(**_NODE))
            say(nodes[-1].node_id)
    ray.shutdown()
    cluster.shutdown()


def say(what: Any) -> None:
    """One line of JSON."""
    print(json.dumps(what, default=str), file=_answers, flush=True)


if __name__ == "__main__":
    main()
