"""An ARM core that is emulated: what it needs, how it is set up, and one inference counted on it."""
