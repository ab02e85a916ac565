"""How good a tracker is: clips with exact truth, the DAVIS measures, identities, presence, time."""
