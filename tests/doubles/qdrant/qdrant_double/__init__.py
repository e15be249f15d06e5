"""A test double of Qdrant's REST API over qdrant-edge: the same engine and segment files, another server.

It exists for clusters that can reach no registry. Every answer carries `x-docuquery-double: qdrant-edge`.
"""

VERSION = "1.18.3-double"
HEADER = {"x-docuquery-double": "qdrant-edge"}
