"""Images and folders as users give them: found, read and decoded as upright RGB pictures, within limits."""
