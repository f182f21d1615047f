//! One input, played to a server from its begin to its end.

use std::sync::Arc;

use bulla_server::core::Core;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::script::{self, Line, Who};
use super::watch::Watch;
use super::world::{Answer, World, ask, run};

/// Sends all requests of an input, looks at each answer, and gives their statuses.
///
/// # Panics
/// When something does not hold.
pub fn play(text: &str) -> Vec<u16> {
    let lines = script::parse(text);
    if lines.is_empty() { Vec::new() } else { run(answer_all(World::the_one(), text, &lines)) }
}

async fn answer_all(world: &World, text: &str, lines: &[Line<'_>]) -> Vec<u16> {
    let core = world.open(world.entries.clone()).await.expect("what was made opens");
    let mut watch = Watch::new(world, text);
    let mut statuses = Vec::new();
    for line in lines {
        statuses.extend(answer(world, &core, &mut watch, line).await);
    }
    // What was wrapped and not taken is taken now, and not once more.
    for token in std::mem::take(&mut watch.wraps) {
        let first = unwrap(&core, &token).await;
        let second = unwrap(&core, &token).await;
        assert!(second.status >= 400, "a wrapped answer was given twice");
        let line = Line::default();
        watch.look(&line, token.as_bytes(), &first);
        watch.look(&line, token.as_bytes(), &second);
    }
    statuses
}

async fn answer(world: &World, core: &Arc<Core>, watch: &mut Watch, line: &Line<'_>) -> Option<u16> {
    let mut asked = line.fill(&watch.texts)?;
    asked.headers.remove("x-vault-token");
    if line.who != Who::Nobody {
        let token = HeaderValue::from_str(&token(world, watch, line.who)?).ok()?;
        let is_one = token.is_empty() || token.to_str().is_ok_and(|text| watch.is_token(text));
        if matches!(line.who, Who::Forger(..)) && !is_one {
            let seen = look_up(core, &token).await;
            assert!(seen.status >= 400, "a changed token is one: {line:?}");
        }
        asked.headers.insert("x-vault-token", token);
    }
    let mut sent = asked.uri.to_string().into_bytes();
    sent.extend_from_slice(&asked.body);
    let others = asked.headers.iter().filter(|(name, _)| *name != "x-vault-token");
    sent.extend(others.flat_map(|(_, value)| value.as_bytes()));
    let answer = ask(core, asked.method, asked.uri, asked.headers, asked.body).await;
    watch.look(line, &sent, &answer);
    Some(answer.status)
}

/// The text of the token that comes with a request; none if there is no such.
fn token(world: &World, watch: &Watch, who: Who<'_>) -> Option<String> {
    let of = |name: &str| match name {
        "token" | "wrap" => watch.texts.get(name).cloned(),
        name => world.people.iter().find(|person| person.name == name).map(|person| person.token.clone()),
    };
    match who {
        Who::Nobody => None,
        Who::Holder(name) => of(name),
        Who::Forger(name, change) => change.apply(&of(name)?),
    }
}

async fn look_up(core: &Arc<Core>, token: &HeaderValue) -> Answer {
    ask(core, Method::GET, Uri::from_static("/v1/auth/token/lookup-self"), with(token.clone()), Vec::new()).await
}

async fn unwrap(core: &Arc<Core>, token: &str) -> Answer {
    let token = HeaderValue::from_str(token).expect("a token is a header");
    ask(core, Method::POST, Uri::from_static("/v1/sys/wrapping/unwrap"), with(token), Vec::new()).await
}

fn with(token: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-vault-token"), token)])
}
