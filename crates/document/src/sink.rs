//! Where rendered text goes: into a buffer, or nowhere but a comparison.

use bulla_core::SecretBytes;

/// Takes text piece by piece.
pub(crate) trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for SecretBytes {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The room must have been made before: a vector that grows leaves copies behind.
impl Sink for zeroize::Zeroizing<Vec<u8>> {
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(self.capacity() - self.len() >= bytes.len());
        self.extend_from_slice(bytes);
    }
}

/// Makes room for `additional` bytes; a vector that moves is wiped where it was.
pub(crate) fn reserve(bytes: &mut zeroize::Zeroizing<Vec<u8>>, additional: usize) {
    if bytes.capacity() - bytes.len() < additional {
        let mut larger = Vec::with_capacity((bytes.len() + additional) * 2);
        larger.extend_from_slice(bytes);
        *bytes = zeroize::Zeroizing::new(larger);
    }
}

/// Counts the bytes.
pub(crate) struct Length(pub(crate) usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Compares what is rendered with what is expected, without a copy.
pub(crate) struct Comparison<'a> {
    /// What must still come; `None` once something else came.
    rest: Option<&'a [u8]>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn with(expected: &'a [u8]) -> Self {
        Self { rest: Some(expected) }
    }

    /// Whether exactly the expected text came.
    pub(crate) fn is_equal(&self) -> bool {
        self.rest == Some(&[])
    }
}

impl Sink for Comparison<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.rest = self.rest.and_then(|rest| rest.strip_prefix(bytes));
    }
}
