"""`python -m tests.app.server.ray_nodes N`: a Ray cluster of N nodes on this machine, in a process of its own.

Its first line is JSON: the address of the dashboard, and each node's id and process ids. A number on standard input
ends that node as a machine ends whose plug is pulled; the end of input ends all.
"""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster

_NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "node_ip_address": "127.0.0.2",
    "include_log_monitor": False,
}


def main() -> None:
    """Starts them, and does as it is told."""
    cluster = Cluster()
    head = cluster.add_node(**_NODE, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=0)
    nodes = [head, *(cluster.add_node(**_NODE) for _ in range(int(sys.argv[1]) - 1))]
    said = {"dashboard": head.webui_url, "address": cluster.address, "nodes": [node.node_id for node in nodes]}
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[int(line)], allow_graceful=False)
        print(json.dumps({"ended": int(line)}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
