"""Copies of the status page that outlive the cluster: files in an object store, and a page at Statuspage.io."""
