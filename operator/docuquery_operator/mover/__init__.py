"""The code of the Jobs that move data: streams from servers to a store and back."""
