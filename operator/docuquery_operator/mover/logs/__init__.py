"""Rotation of log files on volumes."""
