"""A real Kubernetes node from ordinary packages, for machines without Docker. Standard library only."""
