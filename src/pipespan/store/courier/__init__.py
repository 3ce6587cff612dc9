"""The courier: one process of this user and host that ships for all others, through one connection.

A program that ships by itself loads a database driver, holds a connection, and walks the driver's objects at each
full collection of garbage. So programs hand their batches over a local socket instead. What is handed over is what
every `Sink` takes, and the ledger is in the database: who ships, and how often the way changes, makes no difference
to what arrives.
"""
