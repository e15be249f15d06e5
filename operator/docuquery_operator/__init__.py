"""DocuQuery Operator."""
