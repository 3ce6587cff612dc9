"""Commands run under pipespan's eyes: started, heard and judged, and otherwise left alone."""
