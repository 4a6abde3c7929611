"""What is learned: families of policies, one file each; parameters are arguments, nothing is kept."""
