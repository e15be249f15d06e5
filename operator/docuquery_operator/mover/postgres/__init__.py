"""PostgreSQL: dump, facts, drill, restore beside, swap."""
