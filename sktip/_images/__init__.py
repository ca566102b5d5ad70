"""Convert images in any form to upright RGB pictures, with limits, and draw random views."""
