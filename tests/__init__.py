"""Everything that checks the project; a package so that tests.simulation can be run and imported."""
