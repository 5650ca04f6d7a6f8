"""What this machine can do, and what it says about the speed-up that is possible."""
