"""Colour spaces: as ICC profiles, as numbers of H.273, or as a format states them otherwise."""
