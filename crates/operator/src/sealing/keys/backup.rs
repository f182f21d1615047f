//! A file that gives the keys back when the cluster is gone.
