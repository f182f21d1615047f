//! Templates against the real ones: Go's text/template with sprig, asked for each case.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a failure is a panic")]

mod corpus;
mod oracle;
mod random;
mod safety;
