"""The command line: one module for each group of commands. They read arguments and print; they decide nothing."""
