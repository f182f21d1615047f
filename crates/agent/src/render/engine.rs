//! The templates, and who waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{Env, SecretBytes, file};
use bulla_template::{Limits, MissingKey, Options, Template, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::command;
use super::destination::{self, Written};
use super::follow::{self, Following, News};
use super::functions::{Answers, Asked, ExtraFile, functions, lock};
use super::need::Need;
use crate::config::{CommandLine, FailureMeans, TemplateConfig, TemplateSource};
use crate::login::{Current, Token};

/// The largest template.
const LONGEST: u64 = 1 << 20;
/// When what was rendered could not be written it is tried again.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), limit: Duration::from_mins(1) };
/// How much news waits to be heard.
const NEWS: usize = 64;

/// What becomes of what is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is written to files.
    Files,
    /// It is told, all of it once all is there, and whenever some of it is new.
    Variables,
}

/// What others have to know.
pub(crate) enum Event {
    /// The variables, by name.
    Variables(Vec<(String, SecretBytes)>),
    /// A template cannot be rendered, and that is to end the agent.
    Failed(String),
}

/// How far the templates are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Those that were not rendered yet, with the reason as far as it is known.
    pub(crate) waiting: Vec<String>,
    /// Whether some never will be.
    pub(crate) is_broken: bool,
}

/// All templates.
pub(crate) struct Engine {
    kind: Kind,
    entries: Vec<Entry>,
    answers: Answers,
    following: Arc<Following>,
    /// Why something cannot be had.
    failing: BTreeMap<Need, String>,
    tasks: BTreeMap<Need, Task>,
    commands: JoinSet<(Vec<usize>, Result<(), String>)>,
    events: mpsc::Sender<Event>,
    progress: watch::Sender<Progress>,
    retry: Option<Instant>,
    failures: u32,
}

/// One template.
struct Entry {
    /// For messages: its file, or its variable.
    name: String,
    config: TemplateConfig,
    asked: Asked,
    template: Option<Template>,
    used: BTreeSet<Need>,
    state: State,
    contents: Option<SecretBytes>,
}

enum State {
    /// It was not rendered yet, perhaps for a reason.
    Waiting(Option<String>),
    /// It was.
    Rendered,
    /// It is no template.
    Broken,
}

/// A task that ends when it is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Engine {
    /// Reads the templates. One that cannot be read is told of, and stops no other.
    pub(crate) fn new(
        kind: Kind,
        templates: Vec<(String, TemplateConfig)>,
        following: Following,
        env: &Arc<dyn Env>,
        (events, progress): (mpsc::Sender<Event>, watch::Sender<Progress>),
    ) -> Self {
        let answers = Answers::default();
        let entries = templates.into_iter().map(|(name, config)| Entry::new(name, config, &answers, env)).collect();
        let following = Arc::new(following);
        let engine = Self {
            kind,
            entries,
            answers,
            following,
            failing: BTreeMap::new(),
            tasks: BTreeMap::new(),
            commands: JoinSet::new(),
            events,
            progress,
            retry: None,
            failures: 0,
        };
        engine.tell_progress();
        engine
    }

    /// Renders for ever. A new token begins it all again: what the one before was given may end with it.
    pub(crate) async fn run(mut self, mut tokens: Current) {
        for index in 0..self.entries.len() {
            if matches!(self.entries[index].state, State::Broken) {
                self.give_up(format!("{}: it is no template", self.entries[index].name)).await;
            }
        }
        let (mut tell, mut told) = mpsc::channel(NEWS);
        let mut token = None;
        tokens.mark_changed();
        loop {
            let retry = self.retry;
            let again = async move {
                match retry {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = tokens.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    token.clone_from(&tokens.borrow_and_update());
                    // What the tasks of the token before still say goes to a channel that nobody reads.
                    (tell, told) = mpsc::channel(NEWS);
                    self.tasks.clear();
                    self.failing.clear();
                    lock(&self.answers).clear();
                    if token.is_some() {
                        self.render(|_| true, token.as_ref(), &tell).await;
                    }
                }
                Some(first) = told.recv() => {
                    let mut news = vec![first];
                    // What changes together is rendered together.
                    while let Ok(more) = told.try_recv() {
                        news.push(more);
                    }
                    self.hear(news, token.as_ref(), &tell).await;
                }
                Some(ended) = self.commands.join_next() => {
                    if let Ok((entries, Err(why))) = ended {
                        self.command_failed(&entries, &why).await;
                    }
                }
                () = again => {
                    self.retry = None;
                    self.render(|entry| matches!(entry.state, State::Waiting(Some(_))), token.as_ref(), &tell).await;
                }
            }
            self.tell_progress();
        }
    }

    async fn hear(&mut self, news: Vec<(Need, News)>, token: Option<&Arc<Token>>, tell: &mpsc::Sender<(Need, News)>) {
        let mut changed = BTreeSet::new();
        for (need, news) in news {
            match news {
                News::Value(value) => {
                    self.failing.remove(&need);
                    lock(&self.answers).insert(need.clone(), value);
                    changed.insert(need);
                }
                News::Failed { why, is_last } => {
                    if is_last {
                        self.give_up(format!("{need}: {why}")).await;
                    }
                    self.failing.insert(need, why);
                }
            }
        }
        self.render(|entry| !entry.used.is_disjoint(&changed), token, tell).await;
    }

    /// Renders those templates, and runs what is to run then.
    async fn render(
        &mut self,
        which: impl Fn(&Entry) -> bool,
        token: Option<&Arc<Token>>,
        tell: &mpsc::Sender<(Need, News)>,
    ) {
        let mut commands: Vec<(CommandLine, Vec<usize>)> = Vec::new();
        for index in 0..self.entries.len() {
            if !which(&self.entries[index]) {
                continue;
            }
            let outcome = self.entries[index].execute();
            for need in &self.entries[index].used {
                if let Some(token) = token
                    && !self.tasks.contains_key(need)
                {
                    let task = follow::run(need.clone(), Arc::clone(&self.following), Arc::clone(token), tell.clone());
                    self.tasks.insert(need.clone(), Task(tokio::spawn(task).abort_handle()));
                }
            }
            match outcome {
                Outcome::Incomplete => {}
                Outcome::Failed(why) => self.entry_failed(index, why).await,
                Outcome::Rendered(contents, extra) => match self.deliver(index, contents, &extra) {
                    Ok(None) => {}
                    Ok(Some(line)) => match commands.iter_mut().find(|(other, _)| *other == line) {
                        Some((_, entries)) => entries.push(index),
                        None => commands.push((line, vec![index])),
                    },
                    Err(why) => self.entry_failed(index, why).await,
                },
            }
        }
        for (line, entries) in commands {
            self.commands.spawn(async move {
                let result = command::run(&line).await;
                (entries, result)
            });
        }
        self.forget_unused();
        if self.kind == Kind::Variables {
            self.tell_variables().await;
        }
    }

    /// Gives out what was rendered. What comes back is to run now.
    fn deliver(
        &mut self,
        index: usize,
        contents: SecretBytes,
        extra: &[ExtraFile],
    ) -> Result<Option<CommandLine>, String> {
        let Some(entry) = self.entries.get_mut(index) else { return Ok(None) };
        for file in extra {
            destination::write_extra(file)?;
        }
        let mut line = None;
        match self.kind {
            Kind::Files => {
                if destination::write(&entry.config, contents.expose())? == Written::Yes {
                    tracing::info!(template = entry.name, "rendered");
                    line.clone_from(&entry.config.command);
                }
            }
            Kind::Variables => entry.contents = Some(contents),
        }
        entry.state = State::Rendered;
        if !self.entries.iter().any(|entry| matches!(entry.state, State::Waiting(Some(_)))) {
            self.failures = 0;
        }
        Ok(line)
    }

    async fn entry_failed(&mut self, index: usize, why: String) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        tracing::error!(template = entry.name, why, "it is not rendered");
        let (message, is_fatal) = (format!("{}: {why}", entry.name), entry.config.failure == FailureMeans::TheEnd);
        entry.state = State::Waiting(Some(why));
        self.failures = self.failures.saturating_add(1);
        self.retry.get_or_insert(Instant::now() + AGAIN.after(self.failures));
        if is_fatal {
            self.give_up(message).await;
        }
    }

    async fn command_failed(&mut self, entries: &[usize], why: &str) {
        for entry in entries.iter().filter_map(|index| self.entries.get(*index)) {
            tracing::error!(template = entry.name, why, "its command failed");
        }
        let names: Vec<&str> =
            entries.iter().filter_map(|index| Some(self.entries.get(*index)?.name.as_str())).collect();
        self.give_up(format!("{}: {why}", names.join(", "))).await;
    }

    /// Ends the agent, where a failure is to do that.
    async fn give_up(&mut self, message: String) {
        if self.following.rendering.exit_on_retry_failure {
            let _ = self.events.send(Event::Failed(message)).await;
        }
    }

    /// What no template asks for any more is not followed any more.
    fn forget_unused(&mut self) {
        let is_used = |need: &Need| self.entries.iter().any(|entry| entry.used.contains(need));
        let unused: Vec<Need> = self.tasks.keys().filter(|need| !is_used(need)).cloned().collect();
        for need in unused {
            self.tasks.remove(&need);
            self.failing.remove(&need);
            lock(&self.answers).remove(&need);
        }
    }

    async fn tell_variables(&self) {
        if !self.entries.iter().all(|entry| matches!(entry.state, State::Rendered)) {
            return;
        }
        let variables =
            self.entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.contents.clone()?))).collect();
        let _ = self.events.send(Event::Variables(variables)).await;
    }

    fn tell_progress(&self) {
        let waiting = self.entries.iter().filter_map(|entry| match &entry.state {
            State::Waiting(why) => {
                let failing = entry.used.iter().find_map(|need| Some(format!("{need}: {}", self.failing.get(need)?)));
                let why = why.clone().or(failing).unwrap_or_else(|| "nothing is known yet".to_owned());
                Some(format!("{} ({why})", entry.name))
            }
            State::Rendered | State::Broken => None,
        });
        let mut waiting: Vec<String> = waiting.collect();
        if waiting.is_empty() && !self.commands.is_empty() {
            waiting.push("a command has not ended".to_owned());
        }
        let is_broken = self.entries.iter().any(|entry| matches!(entry.state, State::Broken));
        self.progress.send_replace(Progress { waiting, is_broken });
    }
}

/// What came of a run.
enum Outcome {
    /// Something was not there.
    Incomplete,
    Failed(String),
    Rendered(SecretBytes, Vec<ExtraFile>),
}

impl Entry {
    fn new(name: String, config: TemplateConfig, answers: &Answers, env: &Arc<dyn Env>) -> Self {
        let asked = Asked::new(Arc::clone(answers));
        let functions = functions(&asked, &config.destination, config.sandbox.as_deref(), env, &config.denied);
        let text = match &config.source {
            TemplateSource::Contents(text) => Ok(text.clone()),
            TemplateSource::File(path) => {
                file::read_regular(path, LONGEST).map_err(|error| error.to_string()).and_then(|text| {
                    let text = std::str::from_utf8(text.expose()).map(str::to_owned);
                    text.map_err(|_| format!("{}: it is not UTF-8", path.display()))
                })
            }
        };
        let options = Options {
            left: config.delimiters.0.clone(),
            right: config.delimiters.1.clone(),
            missing_key: if config.error_on_missing_key { MissingKey::Error } else { MissingKey::Default },
            functions,
            ..Options::default()
        };
        let parsed = text.and_then(|text| Template::parse(&name, &text, &options).map_err(|error| error.to_string()));
        let (template, state) = match parsed {
            Ok(template) => (Some(template), State::Waiting(None)),
            Err(why) => {
                tracing::error!(template = name, why, "it is no template, and is left out");
                (None, State::Broken)
            }
        };
        Self { name, config, asked, template, used: BTreeSet::new(), state, contents: None }
    }

    fn execute(&mut self) -> Outcome {
        let Some(template) = &self.template else { return Outcome::Incomplete };
        let out = template.execute(&Value::Nil, &Limits::default());
        let record = self.asked.take();
        self.used = record.used;
        match out {
            // What is wrong may be that it is not there.
            _ if record.is_incomplete => Outcome::Incomplete,
            Ok(contents) => Outcome::Rendered(contents, record.files),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}
