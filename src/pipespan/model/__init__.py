"""Values and pure functions: rows, progress, health, the tree. Imports nothing of pipespan but errors."""
