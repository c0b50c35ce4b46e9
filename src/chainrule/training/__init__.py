"""Chapter 6: learning. What a user holds, the training loop, what looks on, and the model file."""
