"""Regular, and not a namespace: a package that some wheel installs under this name must not hide it."""
