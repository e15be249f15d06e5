"""What is wrong with a Stack: states of its components, service levels, and the faults that open incidents."""
