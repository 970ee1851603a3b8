"""The HTTP interface of a broker."""
