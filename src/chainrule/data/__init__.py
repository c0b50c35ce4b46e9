"""What goes in: data sets, readers, batches, and the checks of what a user hands over."""
