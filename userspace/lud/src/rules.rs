// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file of the policy, which is TOML, and its errors.

use crate::policy::{Grant, Policy, Rule, Verb, UNMAPPED};
use crate::users::Names;
use anyhow::{bail, Context, Result};
use liveupdate::SessionName;
use serde::Deserialize;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The length of the largest policy, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "rule")]
    rules: Vec<WrittenRule>,
}

/// A rule, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    user: Option<NameOrNumber>,
    group: Option<NameOrNumber>,
    cgroup: Option<String>,
    #[serde(default)]
    prefix: String,
    max_sessions: Option<usize>,
    #[serde(default = "yes")]
    keep: bool,
    #[serde(default)]
    any_owner: bool,
    allow: Vec<Verb>,
}

/// A user or a group.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NameOrNumber {
    Number(u32),
    Name(String),
}

fn yes() -> bool {
    true
}

impl NameOrNumber {
    fn resolve(&self, lookup: impl Fn(&str) -> Option<u32>, file: &str) -> Result<u32> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => lookup(name)
                .with_context(|| format!("there is no \"{}\" in {file}", name.escape_debug())),
        }
    }
}

impl WrittenRule {
    fn resolve(&self, names: &Names) -> Result<Rule> {
        let user = self
            .user
            .as_ref()
            .map(|user| user.resolve(|name| names.user(name), "/etc/passwd"))
            .transpose()?;
        let group = self
            .group
            .as_ref()
            .map(|group| group.resolve(|name| names.group(name), "/etc/group"))
            .transpose()?;
        if user == Some(UNMAPPED) || group == Some(UNMAPPED) {
            bail!("{UNMAPPED} stands for all users and groups of other user namespaces");
        }
        if let Some(cgroup) = &self.cgroup {
            if !cgroup.starts_with('/') {
                bail!("a cgroup begins with \"/\", as in /proc/PID/cgroup");
            }
        }
        if !self.prefix.is_empty() && SessionName::new(&self.prefix).is_err() {
            bail!("no session's name begins with this prefix");
        }
        Ok(Rule {
            user,
            group,
            cgroup: self.cgroup.clone(),
            prefix: self.prefix.clone().into_bytes(),
            allow: self.allow.clone(),
            grant: Grant {
                max_sessions: self.max_sessions,
                keep: self.keep,
                any_owner: self.any_owner,
            },
        })
    }
}

/// Reads the text of a policy.
fn parse(text: &str, names: &Names) -> Result<Policy> {
    let written: Written = toml::from_str(text)?;
    let rules = written
        .rules
        .iter()
        .zip(1..)
        .map(|(rule, number)| {
            rule.resolve(names)
                .with_context(|| format!("rule {number}"))
        })
        .collect::<Result<_>>()?;
    Ok(Policy { rules })
}

/// Reads a policy.
pub fn load(path: &Path) -> Result<Policy> {
    let read = || -> Result<Policy> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_LEN + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_LEN {
            bail!("it has more than {MAX_LEN} bytes");
        }
        parse(&text, &Names::system())
    };
    read().with_context(|| format!("cannot use the policy {}", path.display()))
}

/// Where the policy is.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Whether it may be absent: then only root may use the agent.
    pub optional: bool,
}

impl Source {
    /// Reads the policy.
    pub fn load(&self) -> Result<Policy> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.optional => {
                Ok(Policy::default())
            }
            _ => load(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("vm:x:1000:1000::/:/bin/sh\n", "kvm:x:105:\n")
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text, &names()).expect_err("a bad policy"))
    }

    #[test]
    fn a_whole_rule_is_read() {
        let text = r#"
            [[rule]]
            user = "vm"
            group = 105
            cgroup = "/system.slice"
            prefix = "vm-"
            max_sessions = 8
            keep = false
            any_owner = true
            allow = ["create", "retrieve", "discard", "list"]

            [[rule]]
            group = "kvm"
            allow = []
        "#;
        let whole = Rule {
            user: Some(1000),
            group: Some(105),
            cgroup: Some("/system.slice".to_owned()),
            prefix: b"vm-".to_vec(),
            allow: vec![Verb::Create, Verb::Retrieve, Verb::Discard, Verb::List],
            grant: Grant {
                max_sessions: Some(8),
                keep: false,
                any_owner: true,
            },
        };
        let short = Rule {
            user: None,
            group: Some(105),
            cgroup: None,
            prefix: Vec::new(),
            allow: Vec::new(),
            grant: Grant::DEFAULT,
        };
        let policy = parse(text, &names()).expect("a good policy");
        assert_eq!(policy.rules, [whole, short]);
    }

    #[test]
    fn an_empty_file_is_a_policy() {
        assert_eq!(parse("", &names()).expect("empty"), Policy::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error("[[rule]]\nallow = []\nuid = 5\n").contains("unknown field `uid`"));
        assert!(error("[[rule]]\nuser = 5\n").contains("missing field `allow`"));
        assert!(error("[[rule]]\nallow = [\"steal\"]\n").contains("unknown variant `steal`"));
        assert!(error("rules = 3\n").contains("unknown field `rules`"));
        assert_eq!(
            error("[[rule]]\nallow = []\n[[rule]]\nuser = \"nobody\"\nallow = []\n"),
            "rule 2: there is no \"nobody\" in /etc/passwd"
        );
        assert_eq!(
            error("[[rule]]\ncgroup = \"system.slice\"\nallow = []\n"),
            "rule 1: a cgroup begins with \"/\", as in /proc/PID/cgroup"
        );
        let long = "x".repeat(64);
        assert_eq!(
            error(&format!("[[rule]]\nprefix = \"{long}\"\nallow = []\n")),
            "rule 1: no session's name begins with this prefix"
        );
        assert!(error("[[rule]]\nuser = 65534\nallow = []\n").contains("user namespaces"));
    }

    #[test]
    fn only_the_default_file_may_be_absent() {
        let mut source = Source {
            path: "/nonexistent/lud.toml".into(),
            optional: false,
        };
        assert!(source.load().is_err());
        source.optional = true;
        assert_eq!(source.load().expect("a default"), Policy::default());
    }
}
