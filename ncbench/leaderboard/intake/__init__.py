"""From a file nobody vouches for to a record that counts, or to what is wrong with it."""
