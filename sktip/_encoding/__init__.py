"""From images and prompts to CLIP features: the model, the loop, the memory of features."""
