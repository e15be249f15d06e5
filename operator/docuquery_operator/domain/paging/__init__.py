"""Who is told what, when and how often, and what people answer."""
