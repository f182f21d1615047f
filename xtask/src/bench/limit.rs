//! The limit that no implementation of the format gets under: AES-256-GCM and SHA-512 over the same bytes.

use std::time::Instant;

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInOut, KeyInit};
use anyhow::{Result, anyhow};
use sha2::{Digest, Sha512};

/// Seconds for `count` values of `len` bytes each.
pub fn seconds(count: usize, len: usize) -> Result<f64> {
    let cipher = AesGcm::<aes_gcm::aes::Aes256, U32>::new(&[7; 32].into());
    let mut value = vec![b'x'; len];
    let mut hash = Sha512::new();
    let start = Instant::now();
    for _ in 0..count {
        hash.update(&value);
        cipher
            .encrypt_inout_detached(&[9; 32].into(), b"map:key:", value.as_mut_slice().into())
            .map_err(|_| anyhow!("AES-GCM failed"))?;
    }
    let digest = hash.finalize();
    let elapsed = start.elapsed().as_secs_f64();
    // Used, so that it cannot be left out.
    if digest.iter().all(|byte| *byte == 0) {
        return Err(anyhow!("SHA-512 gave zeros"));
    }
    Ok(elapsed)
}
