"""What is learned: teachers, demonstrations, policies, cloning, improvement, judging and export."""
