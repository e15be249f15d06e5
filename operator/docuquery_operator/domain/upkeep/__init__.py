"""What the tasks of windows measure and find: databases, errors in logs, and how long resources last."""
