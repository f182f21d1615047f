//! What each of the two servers gave out: tokens, accessors, ciphertexts. Requests name it, each server gets its own.

use std::collections::BTreeMap;
use std::time::Instant;

use super::dice::Dice;
use super::wire::Answer;

/// Where in answers something is that later requests can use, and under which name.
const KEPT: &[(&str, &str)] = &[
    ("/auth/client_token", "token"),
    ("/auth/accessor", "accessor"),
    ("/wrap_info/token", "wrapping"),
    ("/wrap_info/accessor", "accessor"),
    ("/data/ciphertext", "ciphertext"),
    ("/data/signature", "signature"),
    ("/data/hmac", "signature"),
    ("/data/secret_id", "secret_id"),
    ("/data/secret_id_accessor", "secret_id_accessor"),
];

/// Theirs and ours, by name.
pub struct Saved {
    /// When the first of it was made.
    pub begun: Instant,
    pub texts: [BTreeMap<String, String>; 2],
    counts: BTreeMap<&'static str, usize>,
}

impl Saved {
    pub fn new(texts: [BTreeMap<String, String>; 2], begun: Instant) -> Self {
        Self { begun, texts, counts: BTreeMap::new() }
    }

    /// JSON of something that was given out under a name, more often than not, if there is any.
    pub fn any(&self, name: &str, dice: &mut Dice, otherwise: &[&str]) -> String {
        let count = self.counts.get(name).copied().unwrap_or(0);
        let (at, instead) = (dice.below(1 << 20), dice.pick(otherwise));
        if count > 0 && dice.chance(60) { format!("\"{{{name}.{}}}\"", at % count) } else { instead.to_owned() }
    }

    /// Keeps what both gave.
    pub fn keep(&mut self, theirs: &Answer, ours: &Answer) {
        for (pointer, name) in KEPT {
            let texts = [theirs, ours].map(|answer| answer.body.pointer(pointer).and_then(|value| value.as_str()));
            if let [Some(theirs), Some(ours)] = texts {
                let count = self.counts.entry(name).or_default();
                self.texts[0].insert(format!("{name}.{count}"), theirs.to_owned());
                self.texts[1].insert(format!("{name}.{count}"), ours.to_owned());
                *count += 1;
            }
        }
    }

    /// A text with what one of the two (0: theirs) gave out.
    pub fn fill(&self, text: &str, which: usize) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let texts = &self.texts[which];
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            if let Some((value, tail)) = after.split_once('}').and_then(|(name, tail)| Some((texts.get(name)?, tail))) {
                out.push_str(value);
                rest = tail;
            } else {
                out.push('{');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }
}
