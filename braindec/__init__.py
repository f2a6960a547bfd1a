"""braindec: decode what a person saw, heard or read from fMRI, MEG and EEG."""

__version__ = "0.1.0"
