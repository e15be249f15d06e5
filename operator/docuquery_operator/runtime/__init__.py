"""The process: queue, leader Lease, health, metrics, logs, and the one file that imports kopf."""
