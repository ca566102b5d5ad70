"""Images in any form, as upright RGB pictures within bounds, and their random views."""
