"""Files that processes share on one machine; master and worker both use them, and they belong to no other room."""
