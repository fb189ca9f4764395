"""What is in the container image and nowhere else."""
