"""Where rows end up: narrow Protocols, an in-memory reference, and Postgres."""
