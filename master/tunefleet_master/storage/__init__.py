"""Tables, queries, the group-commit writer and the file store. Only this package contains SQL."""
