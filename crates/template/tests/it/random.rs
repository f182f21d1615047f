//! Random small templates, compared with the peer's answers.
