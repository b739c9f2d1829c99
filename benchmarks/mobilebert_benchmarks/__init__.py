"""What a model file costs to run: measured on this machine, counted on emulated ARM cores."""
