"""Write a new repository that installs lbstack and holds the user's stack files."""
