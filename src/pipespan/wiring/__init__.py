"""The composition root: the only room that picks concrete classes and puts them together."""
