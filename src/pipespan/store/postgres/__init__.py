"""The Postgres store; the only place that imports psycopg."""
