"""From views to what a terminal shows: pure functions, whose output obeys width, encoding and safety."""
