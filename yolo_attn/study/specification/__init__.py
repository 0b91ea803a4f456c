"""What a study compares: its base, variants, controls, seeds, data, recipe and device."""
