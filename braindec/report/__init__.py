"""Tables, galleries and one self-contained HTML page from finished scores."""
