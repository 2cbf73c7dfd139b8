"""The optimal transport from targets into the pool, solved in closed form along its regularisation path."""
