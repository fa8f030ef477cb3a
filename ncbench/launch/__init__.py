"""Many runs from one file: suites, and the sweeps that make them where a launcher does."""
