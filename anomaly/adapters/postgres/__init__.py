"""PostgreSQL: the source that is read, and the metadata store that is written."""
