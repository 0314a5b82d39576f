"""A run on disk: the HDF5 file, its schema, its parts while the run goes on, and how it is read."""
