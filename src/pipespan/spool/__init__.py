"""The durable local queue: rows are appended to segment files, and one thread ships them."""
