"""From findings to a cause: the expressions of runbooks and their parameters."""
