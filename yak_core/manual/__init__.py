"""The world by hand: everything waits until it is moved."""
