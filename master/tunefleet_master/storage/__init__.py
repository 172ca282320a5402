"""Tables, queries, the one writer and the store of files. Only this package knows SQL."""
