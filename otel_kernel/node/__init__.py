"""What do the node's files say? No BPF, no network; roots are parameters. What a path means is said in pods."""
