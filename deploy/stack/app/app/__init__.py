"""The reference DocuQuery application: documents in, answers out."""

__version__ = "1.0.0"
