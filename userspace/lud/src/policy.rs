// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a process may do. A decision is a pure function of the rules, the process that asks, and
//! the name of the session.
//!
//! The first rule that matches decides, also if it allows nothing. After the last one, root may do
//! everything. If the agent cannot decide whether a rule matches, because it does not know the
//! cgroup of the process, nothing is allowed: a later rule might allow what this one forbids.

use std::fmt;

/// The number that the kernel shows for users that are not mapped into this user namespace. Several
/// users have it, so it owns nothing.
pub const UNMAPPED: u32 = 65534;

/// What a rule can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Create an outgoing session, and open it again.
    Create,
    /// Retrieve an incoming session, and release it.
    Retrieve,
    /// Discard an outgoing session.
    Discard,
    /// See it in a list.
    List,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Retrieve => "retrieve",
            Self::Discard => "discard",
            Self::List => "list",
        })
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Matches this user only.
    pub user: Option<u32>,
    /// Matches processes with this group, or supplementary group, only.
    pub group: Option<u32>,
    /// Matches processes in this cgroup and those below it only.
    pub cgroup: Option<String>,
    /// Matches sessions whose name begins with this.
    pub prefix: Vec<u8>,
    /// What is allowed.
    pub allow: Vec<Verb>,
    /// What comes with it.
    pub grant: Grant,
}

/// What comes with what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many outgoing sessions the user may have.
    pub max_sessions: Option<usize>,
    /// Whether the agent keeps outgoing sessions.
    pub keep: bool,
    /// Whether sessions of other users count as own ones.
    pub any_owner: bool,
}

impl Grant {
    /// What comes with a rule that does not mention it.
    pub const DEFAULT: Self = Self {
        max_sessions: None,
        keep: true,
        any_owner: false,
    };
}

/// The process that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its user.
    pub uid: u32,
    /// Its groups.
    pub gids: Vec<u32>,
    /// Its number.
    pub pid: u32,
    /// Its cgroup, if that is known.
    pub cgroup: Option<String>,
}

/// Why something is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No rule matches.
    NoRule,
    /// The rule with this number, from 1, does not allow it.
    Rule(usize),
    /// The rule with this number asks for a cgroup, and that of the process is not known.
    Cgroup(usize),
    /// The user is not mapped.
    Unmapped,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule of the policy is for this user and name"),
            Self::Rule(number) => write!(f, "rule {number} of the policy does not allow it"),
            Self::Cgroup(number) => write!(
                f,
                "rule {number} of the policy asks for a cgroup, and that of the process is not \
                 known"
            ),
            Self::Unmapped => write!(
                f,
                "user {UNMAPPED} stands for all users of other user namespaces, and is never \
                 allowed anything"
            ),
        }
    }
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// Whether a cgroup is another one, or below it.
fn is_in(cgroup: &str, parent: &str) -> bool {
    let parent = parent.trim_end_matches('/');
    cgroup
        .strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Rule {
    /// Whether the rule is for the process and the name; [`None`] if that cannot be known.
    fn matches(&self, who: &Who, name: &[u8]) -> Option<bool> {
        let others = self.user.is_none_or(|user| user == who.uid)
            && self.group.is_none_or(|group| who.gids.contains(&group))
            && name.starts_with(&self.prefix);
        match (&self.cgroup, &who.cgroup) {
            _ if !others => Some(false),
            (None, _) => Some(true),
            (Some(_), None) => None,
            (Some(wanted), Some(cgroup)) => Some(is_in(cgroup, wanted)),
        }
    }
}

impl Policy {
    /// Decides whether the process may do it with the session of that name.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn decide(&self, who: &Who, verb: Verb, name: &[u8]) -> Result<Grant, Denied> {
        if who.uid == UNMAPPED {
            return Err(Denied::Unmapped);
        }
        for (rule, number) in self.rules.iter().zip(1..) {
            match rule.matches(who, name) {
                Some(false) => (),
                None => return Err(Denied::Cgroup(number)),
                Some(true) if rule.allow.contains(&verb) => return Ok(rule.grant),
                Some(true) => return Err(Denied::Rule(number)),
            }
        }
        if who.uid == 0 {
            Ok(Grant::DEFAULT)
        } else {
            Err(Denied::NoRule)
        }
    }

    /// The policy in a few words.
    pub fn summary(&self) -> String {
        match self.rules.len() {
            0 => "only root may use the agent".to_owned(),
            1 => "1 rule".to_owned(),
            rules => format!("{rules} rules"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Verb; 4] = [Verb::Create, Verb::Retrieve, Verb::Discard, Verb::List];

    fn who(uid: u32) -> Who {
        Who {
            uid,
            gids: vec![uid, 7],
            pid: 1,
            cgroup: Some("/system.slice/vm.service".to_owned()),
        }
    }

    fn rule() -> Rule {
        Rule {
            user: None,
            group: None,
            cgroup: None,
            prefix: Vec::new(),
            allow: ALL.to_vec(),
            grant: Grant::DEFAULT,
        }
    }

    fn policy(rules: &[Rule]) -> Policy {
        Policy {
            rules: rules.to_vec(),
        }
    }

    #[test]
    fn without_rules_root_may_do_everything_and_nobody_else_anything() {
        for verb in ALL {
            assert_eq!(policy(&[]).decide(&who(0), verb, b"x"), Ok(Grant::DEFAULT));
            assert_eq!(policy(&[]).decide(&who(1), verb, b"x"), Err(Denied::NoRule));
        }
    }

    #[test]
    fn each_condition_has_to_hold() {
        let full = Rule {
            user: Some(5),
            group: Some(7),
            cgroup: Some("/system.slice".to_owned()),
            prefix: b"vm-".to_vec(),
            ..rule()
        };
        let decide = |rule: &Rule, name: &[u8]| {
            policy(std::slice::from_ref(rule)).decide(&who(5), Verb::Create, name)
        };
        assert!(decide(&full, b"vm-1").is_ok());
        assert_eq!(decide(&full, b"vm"), Err(Denied::NoRule));
        let mut other = full.clone();
        other.user = Some(6);
        assert_eq!(decide(&other, b"vm-1"), Err(Denied::NoRule));
        let mut other = full.clone();
        other.group = Some(8);
        assert_eq!(decide(&other, b"vm-1"), Err(Denied::NoRule));
        let mut other = full;
        other.cgroup = Some("/user.slice".to_owned());
        assert_eq!(decide(&other, b"vm-1"), Err(Denied::NoRule));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let nothing = Rule {
            user: Some(5),
            prefix: b"secret".to_vec(),
            allow: Vec::new(),
            ..rule()
        };
        let policy = policy(&[nothing, rule()]);
        assert_eq!(
            policy.decide(&who(5), Verb::List, b"secret-1"),
            Err(Denied::Rule(1))
        );
        assert!(policy.decide(&who(5), Verb::List, b"public").is_ok());
        assert!(policy.decide(&who(6), Verb::List, b"secret-1").is_ok());
    }

    #[test]
    fn an_unknown_cgroup_ends_the_search() {
        let forbids = Rule {
            cgroup: Some("/user.slice".to_owned()),
            allow: Vec::new(),
            ..rule()
        };
        let policy = policy(&[forbids, rule()]);
        let mut unknown = who(5);
        unknown.cgroup = None;
        assert_eq!(
            policy.decide(&unknown, Verb::Create, b"x"),
            Err(Denied::Cgroup(1))
        );
        assert!(policy.decide(&who(5), Verb::Create, b"x").is_ok());
    }

    #[test]
    fn a_cgroup_is_compared_by_whole_parts() {
        assert!(is_in("/a/b", "/a/b"));
        assert!(is_in("/a/b/c", "/a/b/"));
        assert!(!is_in("/a/bc", "/a/b"));
        assert!(!is_in("/a", "/a/b"));
        assert!(is_in("/a", "/"));
    }

    #[test]
    fn an_unmapped_user_is_nobody() {
        let all = policy(&[rule()]);
        assert_eq!(
            all.decide(&who(UNMAPPED), Verb::List, b"x"),
            Err(Denied::Unmapped)
        );
    }
}
