"""The real things behind `anomaly.ports`: one file per thing, imported only when it is used."""
