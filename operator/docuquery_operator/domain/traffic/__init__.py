"""An api's requests, from access logs and metrics: how many, how fast, from whom, and how many are refused."""
