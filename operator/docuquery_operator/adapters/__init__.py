"""The only code that knows third-party clients."""
