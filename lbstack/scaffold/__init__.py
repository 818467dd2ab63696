"""Write a repository of one's own that installs lbstack and holds the stack files."""
