"""The test suite; a package so that fixtures can be named as plugins."""
