"""What users write: the six kinds as pydantic models, and the generator of their CRDs."""
