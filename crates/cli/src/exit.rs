//! What the process' exit status says. The numbers are those of sops, whose scripts depend on them.

/// An exit status. Source: `cmd/sops/codes` of sops 3.13.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// 0: done.
    Success,
    /// 1: anything without a number of its own, wrong flags included; of many files, at least one failed.
    Generic,
    /// 2: the input cannot be read, or is not a text of its syntax.
    CouldNotReadInput,
    /// 3: the output cannot be written.
    CouldNotWriteOutput,
    /// 4: the result has no form in the output's syntax.
    CannotDump,
    /// 6: `--encryption-context` is malformed.
    BadEncryptionContext,
    /// 7: the path or the value of `set` or `unset` is malformed.
    BadSet,
    /// 8: flags that exclude each other.
    ConflictingFlags,
    /// 23: a value cannot be encrypted.
    CannotEncryptTree,
    /// 25: a value cannot be decrypted.
    CannotDecryptTree,
    /// 49: keys cannot be changed of a file that is not there.
    NoFileToRekey,
    /// 51: the file's integrity is not proven.
    MacMismatch,
    /// 91: the path of `--extract` is malformed.
    BadPath,
    /// 92: the file is empty.
    EmptyFile,
    /// 100: no file was named, or it is not there; a sealing key of this name is not there.
    NoFile,
    /// 111: no key to encrypt with was named; there is no way to the cluster that has it, or it refuses.
    NoEncryptionKey,
    /// 112: `--decryption-order` names a kind twice.
    DuplicateKeyKind,
    /// 128: the data key cannot be unwrapped; a sealing key neither, or cannot be wrapped.
    NoDataKey,
    /// 200: the edited file is as it was.
    Unchanged,
    /// 201: the editor cannot be started, or failed.
    NoEditor,
    /// 203: the file is encrypted already.
    AlreadyEncrypted,
    /// The status of a program that was run; 128 and its number for a signal.
    Child(u8),
}

impl Code {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Generic => 1,
            Self::CouldNotReadInput => 2,
            Self::CouldNotWriteOutput => 3,
            Self::CannotDump => 4,
            Self::BadEncryptionContext => 6,
            Self::BadSet => 7,
            Self::ConflictingFlags => 8,
            Self::CannotEncryptTree => 23,
            Self::CannotDecryptTree => 25,
            Self::NoFileToRekey => 49,
            Self::MacMismatch => 51,
            Self::BadPath => 91,
            Self::EmptyFile => 92,
            Self::NoFile => 100,
            Self::NoEncryptionKey => 111,
            Self::DuplicateKeyKind => 112,
            Self::NoDataKey => 128,
            Self::Unchanged => 200,
            Self::NoEditor => 201,
            Self::AlreadyEncrypted => 203,
            Self::Child(status) => status,
        }
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}
