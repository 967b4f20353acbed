"""What the tests make their inputs with, and read results by, without our own code."""
