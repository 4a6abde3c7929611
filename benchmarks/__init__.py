"""How well. Each script prints a table, or with --json one list."""
