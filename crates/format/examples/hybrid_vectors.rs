//! Prints `src/sealed/vectors/hybrid.txt`: values of the hybrid form, which every later version must open. Only for a new version
//! of the form.
//!
//! `cargo run -p bulla-format --example hybrid_vectors`
#![allow(clippy::print_stdout, reason = "what it is for")]

use bulla_format::sealed::{Binding, KeyError, PrivateKey, Scope, seal_value};

/// PKCS#8 of the seed 0, 1, 2, …
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\n\
    MDQCAQAwDQYLKwYBBAGD5i2ByHoEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
    -----END PRIVATE KEY-----\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = PrivateKey::from_pem(KEY)?.pop().ok_or(KeyError::Hybrid)?;
    println!(
        "# Sealed to the key whose seed is 0, 1, 2, …: scope, value. The plaintext is hunter2, the place shop/db, item password,"
    );
    println!("# no template, bulla.dev/deliver: csi.");
    println!("key {}", key.fingerprint());
    for scope in Scope::ALL {
        let mut binding = Binding::new(scope, "shop", "db", "password");
        binding.delivery.insert("bulla.dev/deliver", "csi");
        println!("{scope} {}", seal_value(key.public_key(), &binding, b"hunter2")?);
    }
    Ok(())
}
