"""What the objects and processes of a workload say of it."""
