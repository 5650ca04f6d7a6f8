"""What each command does, without a terminal: nothing here prints."""
