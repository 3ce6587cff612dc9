"""Questions that people ask of a store: which experiment, how far, is it alive, what does it log."""
