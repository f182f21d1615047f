//! bulla inside Git: encrypted files that `git diff` shows and `git merge` merges, and a guard before each commit.
//!
//! - [`repository`]: the git program, asked for facts and for blobs;
//! - [`merge`]: the merge driver, of [`tree`] (what changed), [`text`] (whose bytes), [`metadata`] (who can open it);
//! - [`conflict`]: how two encrypted versions stand in one file until a person has decided;
//! - [`guard`]: the look before a commit, by [`scan`], at what must not be committed in the plain;
//! - [`install`]: the drivers, attributes and hook that make Git call all this.

pub(crate) mod conflict;
pub(crate) mod guard;
pub(crate) mod install;
pub(crate) mod merge;
pub(crate) mod metadata;
pub(crate) mod repository;
pub(crate) mod scan;
pub(crate) mod text;
pub(crate) mod tree;
