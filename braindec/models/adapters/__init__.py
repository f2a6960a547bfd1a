"""Adapters: from one subject's signal to features that all subjects share."""
