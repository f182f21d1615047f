//! Limits and secrets.
