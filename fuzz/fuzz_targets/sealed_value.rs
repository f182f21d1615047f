//! Any bytes, and any text, as a sealed value: parsed, tried with keys, diagnosed.
#![no_main]

use std::sync::LazyLock;

use bulla_format::sealed::{Algorithm, Binding, Candidates, KeyRing, PrivateKey, RingKey, RsaSize, Scope, SealedValue, diagnose};

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let keys = [PrivateKey::generate_rsa(RsaSize::Bits2048), PrivateKey::generate(Algorithm::Hybrid)];
    KeyRing::new(keys.into_iter().flatten().map(|key| RingKey { key, since: Default::default() }))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let binding = Binding::new(Scope::Strict, "namespace", "name", "item");
    let text = str::from_utf8(data).ok().and_then(|text| SealedValue::parse(text).ok());
    for value in text.into_iter().chain(SealedValue::from_bytes(data.to_vec()).ok()) {
        assert!(RING.open(&value, &binding, None).is_err(), "nobody sealed this");
        let _ = diagnose(&RING, &value, &binding, &Candidates::default());
    }
});
