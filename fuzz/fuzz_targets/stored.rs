//! Storage as somebody leaves it who can write there, and texts of batch tokens: what does not open is an error, and no token becomes another.
//!
//! An input is a change a line: `flip ENTRY BYTE`, `cut ENTRY LENGTH`, `swap ENTRY ENTRY`, `copy ENTRY ENTRY`, `drop ENTRY`, `term ENTRY TERM`; or `batch TEXT`,
//! which is not of storage. Entries are counted in the order of their names.
#![no_main]
#![allow(dead_code, reason = "the world has parts that another target uses")]

#[path = "../src_server/world.rs"]
mod world;

use std::sync::Arc;

use bulla_core::json::Value;
use bulla_server::core::Core;
use bulla_server::storage::Entry;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use world::{Answer, World, ask, run};

libfuzzer_sys::fuzz_target!(|text: &str| run(live(World::the_one(), text)));

async fn live(world: &World, text: &str) {
    let mut entries = world.entries.clone();
    for line in text.lines().take(8) {
        change(&mut entries, line);
    }
    // A server that cannot be opened says so.
    let Ok(core) = world.open(entries).await else { return };
    for person in &world.people {
        let seen = get(&core, "auth/token/lookup-self", &person.token).await;
        if seen.status == 200 {
            // The policies that it was made with, and its own text: it is the token that it was.
            let name = if matches!(person.name, "batch" | "twice") { "alice" } else { person.name };
            let data = seen.json().remove("data").and_then(|data| data.as_object().cloned()).unwrap_or_default();
            let policies = Value::from(vec![name, "default"]);
            assert!(data.get("policies") == Some(&policies), "{} has other policies", person.name);
            assert_eq!(data.get("id").and_then(Value::as_str), Some(person.token.as_str()));
        }
        for path in ["cubbyhole/x", "team-b/x", "team/denied/x", "secret/data/app/x/locked", "secret/data/hidden/x"] {
            let answer = get(&core, path, &person.token).await;
            let shown = String::from_utf8_lossy(&answer.body).into_owned();
            for canary in world.canaries.iter().filter(|canary| shown.contains(&canary.text)) {
                let may = canary.readers.contains(&person.name) || person.name == "admin";
                assert!(may, "{} got {path}: {shown}", person.name);
            }
        }
    }
    let headers = headers(&world.waiting);
    let first = ask(&core, Method::POST, uri("sys/wrapping/unwrap"), headers.clone(), Vec::new()).await;
    let second = ask(&core, Method::POST, uri("sys/wrapping/unwrap"), headers, Vec::new()).await;
    assert!(first.status >= 400 || second.status >= 400, "a wrapped answer was given twice");
    for line in text.lines().take(8) {
        if let Some(text) = line.strip_prefix("batch ").filter(|text| HeaderValue::from_str(text).is_ok()) {
            let is_one = world.people.iter().any(|person| person.token == *text);
            let answer = get(&core, "auth/token/lookup-self", &format!("b.{text}")).await;
            assert!(is_one || answer.status >= 400, "a text that nobody made is a token");
        }
    }
}

fn change(entries: &mut Vec<Entry>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let count = entries.len();
    let (Some(one), true) = (number(1).and_then(|one| one.checked_rem(count)), count > 0) else { return };
    let other = number(2).unwrap_or(0);
    match words.first().copied() {
        Some("flip") => {
            let value = &mut entries[one].1;
            if let Some(at) = other.checked_rem(value.len()) {
                value[at] ^= 1 << (other / value.len() % 8);
            }
        }
        Some("cut") => entries[one].1.truncate(other),
        Some("swap") => {
            let (a, b) = (entries[one].1.clone(), entries[other % count].1.clone());
            (entries[one].1, entries[other % count].1) = (b, a);
        }
        Some("copy") => entries[one].1 = entries[other % count].1.clone(),
        Some("drop") => drop(entries.remove(one)),
        // The key that a record says it was made with.
        Some("term") => {
            if let Some(term) = entries[one].1.get_mut(1..5) {
                term.copy_from_slice(&u32::try_from(other).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
        _ => {}
    }
}

async fn get(core: &Arc<Core>, path: &str, token: &str) -> Answer {
    ask(core, Method::GET, uri(path), headers(token), Vec::new()).await
}

fn uri(path: &str) -> http::Uri {
    format!("/v1/{path}").parse().expect("a path of ours is one")
}

fn headers(token: &str) -> HeaderMap {
    let token = HeaderValue::from_str(token).expect("a token is a header");
    HeaderMap::from_iter([(HeaderName::from_static("x-vault-token"), token)])
}
