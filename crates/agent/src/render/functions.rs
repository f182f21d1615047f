//! consul-template's functions that ask for something from outside.
//!
//! A template that asks for what is not there yet gets nothing, and is run again when it is: what it asks for shows only as it is run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_core::Env;
use bulla_template::{Args, Failure, Function, Functions, Param, Text, Value};

use super::need::Need;

/// What all templates have been given so far.
pub(super) type Answers = Arc<Mutex<BTreeMap<Need, Value>>>;

/// What one template asks for.
#[derive(Clone)]
pub(super) struct Asked {
    answers: Answers,
    record: Arc<Mutex<Record>>,
}

/// What one run of a template asked for.
#[derive(Default)]
pub(super) struct Record {
    /// All of it.
    pub(super) used: BTreeSet<Need>,
    /// Whether some of it was not there.
    pub(super) is_incomplete: bool,
    /// Files that are to be written once the run has come to its end.
    pub(super) files: Vec<ExtraFile>,
}

/// What `writeToFile` writes.
pub(super) struct ExtraFile {
    pub(super) path: PathBuf,
    pub(super) user: String,
    pub(super) group: String,
    pub(super) mode: u32,
    pub(super) contents: Text,
    pub(super) append: bool,
}

impl Asked {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, record: Arc::default() }
    }

    /// What was asked for since it was last called.
    pub(super) fn take(&self) -> Record {
        std::mem::take(&mut *lock(&self.record))
    }

    fn answer(&self, need: Need) -> Option<Value> {
        // A template may change the maps that it has; those of others are not the same ones.
        let answer = lock(&self.answers).get(&need).map(apart);
        let mut record = lock(&self.record);
        record.is_incomplete |= answer.is_none();
        record.used.insert(need);
        answer
    }
}

/// A value that shares no map with another.
fn apart(value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::map(map.entries().iter().map(|(key, value)| (key.clone(), apart(value)))),
        Value::List(list) if list.items.iter().any(|item| matches!(item, Value::Map(_) | Value::List(_))) => {
            Value::list(list.items.iter().map(apart).collect())
        }
        other => other.clone(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All functions of a template.
pub(super) fn functions(
    asked: &Asked,
    destination: &Path,
    sandbox: Option<&Path>,
    env: &Arc<dyn Env>,
    denied: &[String],
) -> Functions {
    let mut all = Vec::new();
    let with = |run: fn(&Asked, &Args<'_>) -> Result<Value, Failure>| {
        let asked = asked.clone();
        move |_: &mut bulla_template::Meter, args: &Args<'_>| run(&asked, args)
    };
    all.push(Function::new("secret", &[], with(secret)).with_rest(Param::Text));
    all.push(Function::new("secrets", &[Param::Text], with(secrets)));
    all.push(Function::new("writeToFile", &[Param::Text; 4], with(write_to_file)).with_rest(Param::Text));
    let (own, destination) = (asked.clone(), destination.to_owned());
    all.push(
        Function::new("pkiCert", &[], move |_, args| {
            let Some((path, arguments)) = args.all().split_first() else { return Ok(Value::Nil) };
            let arguments: Vec<&[u8]> = (1..=arguments.len()).map(|index| args.text(index)).collect();
            let need = Need::certificate(text(path)?, &arguments, &destination)?;
            Ok(own.answer(need).unwrap_or(Value::Nil))
        })
        .with_rest(Param::Text),
    );
    let (asked, sandbox) = (asked.clone(), sandbox.map(Path::to_owned));
    all.push(Function::new("file", &[Param::Text], move |_, args| file(&asked, sandbox.as_deref(), args)));
    let variable = Arc::clone(env);
    all.push(Function::new("env", &[Param::Text], move |_, args| {
        Ok(found(variable.as_ref(), args).unwrap_or_else(|()| "".into()))
    }));
    let variable = Arc::clone(env);
    all.push(Function::new("mustEnv", &[Param::Text], move |_, args| {
        found(variable.as_ref(), args).map_err(|()| "a required environment variable is empty".into())
    }));
    let variable = Arc::clone(env);
    all.push(Function::new("envOrDefault", &[Param::Text, Param::Text], move |_, args| {
        Ok(found(variable.as_ref(), args).unwrap_or_else(|()| args.value(1).clone()))
    }));
    let all = Functions::consul_template().with(all);
    let names: Vec<&'static str> = all.names().filter(|name| denied.iter().any(|denied| denied == name)).collect();
    let denied: Vec<(&'static str, &'static str)> =
        names.into_iter().map(|name| (name, "it is in the template's function_denylist")).collect();
    all.without(&denied)
}

fn secret(asked: &Asked, args: &Args<'_>) -> Result<Value, Failure> {
    let Some((path, arguments)) = args.all().split_first() else { return Ok(Value::Nil) };
    let arguments: Vec<&[u8]> = (1..=arguments.len()).map(|index| args.text(index)).collect();
    let need = Need::secret(text(path)?, &arguments)?;
    Ok(asked.answer(need).unwrap_or(Value::Nil))
}

fn secrets(asked: &Asked, args: &Args<'_>) -> Result<Value, Failure> {
    if args.text(0).is_empty() {
        return Ok(Value::texts([]));
    }
    Ok(asked.answer(Need::list(text(args.value(0))?)?).unwrap_or_else(|| Value::texts([])))
}

fn file(asked: &Asked, sandbox: Option<&Path>, args: &Args<'_>) -> Result<Value, Failure> {
    let path = Path::new(text(args.value(0))?);
    if path.as_os_str().is_empty() {
        return Ok("".into());
    }
    if let Some(sandbox) = sandbox {
        // So that it is told at once. Whoever reads it looks again.
        let inside = |path: &Path| std::fs::canonicalize(path).map_err(|_| "the file cannot be found");
        if !inside(path)?.starts_with(inside(sandbox)?) {
            return Err("the file is outside of sandbox_path".into());
        }
    }
    Ok(asked
        .answer(Need::File { path: path.to_owned(), sandbox: sandbox.map(Path::to_owned) })
        .unwrap_or_else(|| "".into()))
}

fn write_to_file(asked: &Asked, args: &Args<'_>) -> Result<Value, Failure> {
    let (flags, contents) = match args.from(4) {
        [Value::Text(contents)] => ("", contents),
        [flags, Value::Text(contents)] => (text(flags)?, contents),
        _ => return Err("expected a path, a user, a group, permissions, flags or none, and contents".into()),
    };
    let mode = u32::from_str_radix(text(args.value(3))?, 8).ok().filter(|mode| *mode <= 0o7777);
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(contents.len() + 1));
    bytes.extend_from_slice(contents.expose());
    if flags.contains("newline") {
        bytes.push(b'\n');
    }
    lock(&asked.record).files.push(ExtraFile {
        path: text(args.value(0))?.into(),
        user: text(args.value(1))?.to_owned(),
        group: text(args.value(2))?.to_owned(),
        mode: mode.ok_or("permissions are an octal number")?,
        contents: Text::from(std::mem::take(&mut *bytes)),
        append: flags.contains("append"),
    });
    Ok("".into())
}

fn text(value: &Value) -> Result<&str, Failure> {
    match value {
        Value::Text(text) => std::str::from_utf8(text.expose()).map_err(|_| "the text is not UTF-8".into()),
        _ => Err("not a text".into()),
    }
}

fn found(env: &dyn Env, args: &Args<'_>) -> Result<Value, ()> {
    let name = std::str::from_utf8(args.text(0)).map_err(|_| ())?;
    env.var(name).map(|value| Value::text(std::os::unix::ffi::OsStringExt::into_vec(value))).ok_or(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_template::{Limits, Options, Template};

    use super::*;

    fn run(text: &str, asked: &Asked, denied: &[String]) -> Result<String, String> {
        let env: Arc<dyn Env> = Arc::new(BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]));
        let sandbox = std::env::temp_dir();
        let functions = functions(asked, Path::new("/d"), Some(&sandbox), &env, denied);
        let options = Options { functions, ..Options::default() };
        let template = Template::parse("t", text, &options).map_err(|error| error.to_string())?;
        let out = template.execute(&Value::Nil, &Limits::default()).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out.expose().to_vec()).unwrap())
    }

    #[test]
    fn what_is_asked_for_is_recorded_and_given_when_it_is_there() {
        let asked = Asked::new(Answers::default());
        let text = r#"{{ with secret "kv/app" }}{{ .Data.a }}{{ else }}-{{ end }}{{ range secrets "kv" }}{{ . }}{{ end }}{{ file "/tmp" }}"#;
        assert_eq!(run(text, &asked, &[]).unwrap(), "-");
        let record = asked.take();
        assert!(record.is_incomplete);
        let names: Vec<String> = record.used.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["vault.read(kv/app)", "vault.list(kv)", "file(/tmp)"]);
        let secret = Value::map([("Data".into(), Value::map([("a".into(), "x".into())]))]);
        for need in record.used {
            let value = match &need {
                Need::Read { .. } => secret.clone(),
                Need::List { .. } => Value::texts(["k".into()]),
                _ => "f".into(),
            };
            lock(&asked.answers).insert(need, value);
        }
        assert_eq!(run(text, &asked, &[]).unwrap(), "xkf");
        assert!(!asked.take().is_incomplete);
    }

    #[test]
    fn what_one_template_does_to_a_secret_no_other_sees() {
        let asked = Asked::new(Answers::default());
        let inner = Value::map([("a".into(), "x".into())]);
        let data = Value::map([("data".into(), inner.clone()), ("list".into(), Value::list(vec![inner]))]);
        let need = Need::secret("kv/app", &[]).unwrap();
        lock(&asked.answers).insert(need, Value::map([("Data".into(), data)]));
        let change = r#"{{ with secret "kv/app" }}{{ $_ := sprig_set .Data.data "a" "y" }}{{ $_ := sprig_set (index .Data.list 0) "a" "y" }}{{ .Data.data.a }}{{ end }}"#;
        let read = r#"{{ with secret "kv/app" }}{{ .Data.data.a }}{{ (index .Data.list 0).a }}{{ end }}"#;
        assert_eq!(run(change, &asked, &[]).unwrap(), "y");
        assert_eq!(run(read, &asked, &[]).unwrap(), "xx");
    }

    #[test]
    fn the_environment_is_read_and_files_only_where_they_may_be() {
        let asked = Asked::new(Answers::default());
        assert_eq!(run(r#"{{ env "HOME" }}{{ env "X" }}{{ envOrDefault "X" "d" }}"#, &asked, &[]).unwrap(), "/hd");
        assert!(run(r#"{{ mustEnv "X" }}"#, &asked, &[]).is_err());
        assert!(run(r#"{{ file "/etc/passwd" }}"#, &asked, &[]).unwrap_err().contains("outside of sandbox"));
        assert!(run(r#"{{ env "HOME" }}"#, &asked, &["env".to_owned()]).unwrap_err().contains("function_denylist"));
        assert!(run(r#"{{ secret "a" "b" }}"#, &asked, &[]).unwrap_err().contains("k=v pair"));
    }

    #[test]
    fn files_are_written_after_the_run_and_not_within_it() {
        let asked = Asked::new(Answers::default());
        let text = r#"{{ "secret" | writeToFile "/nowhere/x" "" "" "0640" "append,newline" }}done"#;
        assert_eq!(run(text, &asked, &[]).unwrap(), "done");
        let files = asked.take().files;
        assert_eq!((files[0].mode, files[0].append, files[0].contents.expose()), (0o640, true, b"secret\n".as_slice()));
        assert!(run(r#"{{ writeToFile "a" "" "" "9" "c" }}"#, &asked, &[]).unwrap_err().contains("octal"));
    }
}
