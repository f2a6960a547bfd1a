"""The Natural Scenes Dataset: `reader.NSD`, and what it is made of."""
