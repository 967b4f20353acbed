"""What all commands share: arguments, exit codes, what reaches the terminal."""
