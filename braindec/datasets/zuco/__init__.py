"""ZuCo: EEG of people who read sentences."""
