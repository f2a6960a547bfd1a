"""What every bad input raises."""


class DataError(ValueError):
    """Bad input: the message names the file, the field, what was expected, what was found and what to do."""
