"""The part of /metrics that the double can fill with true figures."""

import os
import pathlib
from collections import Counter, defaultdict

from qdrant_double import VERSION
from qdrant_double.snapshots import Counters
from qdrant_double.store import Store

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Traffic:
    """Answers by method, endpoint and status."""

    def __init__(self) -> None:
        """Start at zero."""
        self.total: Counter[tuple[str, str, int]] = Counter()
        self.seconds: dict[tuple[str, str, int], float] = defaultdict(float)
        self.buckets: Counter[tuple[tuple[str, str, int], float]] = Counter()

    def observe(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer."""
        key = (method, endpoint, status)
        self.total[key] += 1
        self.seconds[key] += seconds
        for bound in _BOUNDS:
            if seconds <= bound:
                self.buckets[key, bound] += 1


def render(store: Store, snapshots: Counters, traffic: Traffic) -> str:
    """Prometheus text."""
    lines = [*_server(snapshots), *_collections(store), *_traffic(traffic)]
    return "\n".join(lines) + "\n"


def _server(snapshots: Counters) -> list[str]:
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return [
        f'app_info{{name="qdrant-edge-double",version="{VERSION}"}} 1',
        "app_status_recovery_mode 0",
        "cluster_enabled 0",
        f"snapshot_created_total {snapshots.created}",
        f"snapshot_creation_running {snapshots.creating}",
        f"snapshot_recovery_running {snapshots.recovering}",
        f"memory_resident_bytes {int(status['VmRSS'].split()[0]) * 1024}",
        f"process_threads {status['Threads'].strip()}",
        f"process_open_fds {len(os.listdir('/proc/self/fd'))}",
    ]


def _collections(store: Store) -> list[str]:
    infos = {collection.name: collection.info() for collection in store.all()}
    lines = [
        f"collections_total {len(infos)}",
        f"collections_vector_total {sum(info['points_count'] for info in infos.values())}",
    ]
    for name, info in infos.items():
        lines += [
            f'collection_points{{id="{name}"}} {info["points_count"]}',
            f'collection_vectors{{id="{name}"}} {info["points_count"]}',
            f'collection_running_optimizations{{id="{name}"}} {int(info["status"] == "yellow")}',
            f'collection_update_queue_length{{id="{name}"}} 0',
            f'collection_dead_replicas{{id="{name}"}} 0',
        ]
    return lines


def _traffic(traffic: Traffic) -> list[str]:
    lines = []
    for (method, endpoint, status), total in traffic.total.items():
        labels = f'method="{method}",endpoint="{endpoint}",status="{status}"'
        key = (method, endpoint, status)
        lines.append(f"rest_responses_total{{{labels}}} {total}")
        lines += [
            f'rest_responses_duration_seconds_bucket{{{labels},le="{bound}"}} {traffic.buckets[key, bound]}'
            for bound in _BOUNDS
        ]
        lines.append(f'rest_responses_duration_seconds_bucket{{{labels},le="+Inf"}} {total}')
        lines.append(f"rest_responses_duration_seconds_sum{{{labels}}} {traffic.seconds[key]}")
        lines.append(f"rest_responses_duration_seconds_count{{{labels}}} {total}")
    return lines
