//! The commands, one a module: its arguments and what it does.

pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod decrypt;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod edit;
pub(crate) mod encrypt;
pub(crate) mod exec_env;
pub(crate) mod exec_file;
pub(crate) mod filestatus;
pub(crate) mod git;
pub(crate) mod groups;
pub(crate) mod keygen;
pub(crate) mod keyservice;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod publish;
pub(crate) mod rotate;
pub(crate) mod seal;
pub(crate) mod sealing_keys;
pub(crate) mod server;
pub(crate) mod set;
pub(crate) mod unset;
pub(crate) mod updatekeys;
pub(crate) mod version;
