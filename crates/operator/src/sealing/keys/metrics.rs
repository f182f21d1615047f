//! What is counted of the keys.
