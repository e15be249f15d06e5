"""Shipped runbooks, as YAML."""
