//! `diff`: what changed in an encrypted file, by key.

use std::path::{Path, PathBuf};

use bulla_core::SecretBytes;
use bulla_format::sops::EncryptedFile;
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::args::{AccessArgs, FileType, MacArgs};
use crate::diff::{self, Values, Version};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::git::repository::Repository;
use crate::input::Source;
use crate::kind::kind_of;
use crate::output;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla diff prod.yaml                   HEAD against the work tree
  bulla diff old.yaml new.yaml           two files
  bulla diff v1.2 -- prod.yaml           a revision against the work tree
  bulla diff v1.2 v1.3 -- prod.yaml      two revisions

Values are hidden unless --show-values is given.";

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// A file, two files, or with files after -- one or two revisions
    #[arg(required = true, num_args = 1..=2, value_name = "FILE|REV")]
    operands: Vec<String>,

    /// The files to compare between revisions
    #[arg(last = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Show the values, not only which changed
    #[arg(long)]
    show_values: bool,

    /// Exit with status 1 if there are differences
    #[arg(long)]
    exit_code: bool,

    /// How differences are written
    #[arg(long, value_enum, default_value = "text")]
    output: OutputForm,

    /// Take the files as this type, whatever their names
    #[arg(long, value_name = "TYPE")]
    input_type: Option<FileType>,

    #[command(flatten)]
    mac: MacArgs,

    #[command(flatten)]
    access: AccessArgs,
}

/// How differences are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where one version of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// On disk.
    File(PathBuf),
    /// In a revision.
    Revision(String, PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Revision(_, path) => path,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Revision(revision, path) => format!("{revision}:{}", path.display()),
        }
    }

    /// The contents; `None` if the revision, or the work tree beside one, has no such file.
    fn read(&self) -> Result<Option<SecretBytes>, Failure> {
        let (revision, path) = match self {
            Self::File(path) => return Source::File(path.clone()).read().map(Some),
            Self::Revision(revision, path) => (revision, path),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = if folder.is_dir() { folder } else { Path::new(".") };
        let repository = Repository::at(folder)?;
        repository
            .output(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])
            .map_err(|_| Failure::generic(format!("{revision}: Git knows no such revision")))?;
        let relative = if folder == Path::new(".") {
            path.to_string_lossy().into_owned()
        } else {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let output = repository.run(&["cat-file", "blob", &format!("{revision}:./{relative}")])?;
        Ok(output.status.success().then(|| SecretBytes::from(output.stdout)))
    }
}

/// Compares and prints.
///
/// # Errors
/// If a version cannot be read or decrypted.
pub(crate) fn run(app: &App, args: &DiffArgs) -> Result<Code, Failure> {
    let access = Access::new(app, &args.access)?;
    let values = if args.show_values { Values::Shown } else { Values::Hidden };
    let mut differ = false;
    let mut reports = Vec::new();
    for (old_place, new_place) in pairs(args)? {
        let old = version(app, &access, args, &old_place)?;
        let new = version(app, &access, args, &new_place)?;
        if old.is_none() && new.is_none() {
            return Err(Failure::new(Code::NoFile, format!("{}: is in neither version", new_place.path().display())));
        }
        let diff = diff::compare(old.as_ref(), new.as_ref())
            .map_err(|error| Failure::generic(format!("{}: {error}", new_place.path().display())))?;
        differ |= !diff.is_empty();
        let (old, new) = (old_place.name(), new_place.name());
        match args.output {
            OutputForm::Text if diff.is_empty() => {}
            OutputForm::Text => output::print(diff::text(&diff, &old, &new, values).as_bytes())?,
            OutputForm::Json => reports.push(diff::json(&diff, &old, &new, values)),
        }
    }
    if args.output == OutputForm::Json {
        output::print(format!("{:#}\n", serde_json::Value::Array(reports)).as_bytes())?;
    }
    Ok(if differ && args.exit_code { Code::Generic } else { Code::Success })
}

/// Which versions are compared.
fn pairs(args: &DiffArgs) -> Result<Vec<(Place, Place)>, Failure> {
    let file = |path: &str| Place::File(PathBuf::from(path));
    let revision = |revision: &str, path: &Path| Place::Revision(revision.to_owned(), path.to_owned());
    let missing = |path: &Path| !path.exists();
    match (args.operands.as_slice(), args.files.as_slice()) {
        ([path], []) => Ok(vec![(revision("HEAD", Path::new(path)), file(path))]),
        ([old, new], []) => {
            if let Some(absent) = [old, new].into_iter().find(|path| missing(Path::new(path))) {
                return Err(Failure::new(Code::NoFile, format!("{absent}: there is no such file"))
                    .with_hint("to compare revisions name the file after --: bulla diff REV REV -- FILE"));
            }
            Ok(vec![(file(old), file(new))])
        }
        ([old], files) => Ok(files.iter().map(|path| (revision(old, path), Place::File(path.clone()))).collect()),
        ([old, new], files) => Ok(files.iter().map(|path| (revision(old, path), revision(new, path))).collect()),
        _ => Err(Failure::generic("name one or two files or revisions")),
    }
}

fn version(app: &App, access: &Access, args: &DiffArgs, place: &Place) -> Result<Option<Version>, Failure> {
    // A file that was deleted is a difference when it is compared with a revision.
    if let Place::File(path) = place
        && !path.exists()
        && !(args.operands.len() == 2 && args.files.is_empty())
    {
        return Ok(None);
    }
    let Some(text) = place.read()? else { return Ok(None) };
    let name = place.name();
    let kind = kind_of(app.personality, args.input_type, &place.path().to_string_lossy(), text.expose());
    if EncryptedFile::parse(kind, text.clone()).is_err() {
        return Ok(Some(Version { kind, text, encrypted: None }));
    }
    let opened = engine::open(app, access, &name, kind, text, args.mac.into())?;
    let encrypted = Some((opened.file.metadata().clone(), opened.key));
    Ok(Some(Version { kind, text: opened.plain.text, encrypted }))
}
