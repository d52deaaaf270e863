// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Numbers of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! Only these files are read, not the Name Service Switch: users of LDAP and the like need a
//! number in the policy. So the agent loads no code into itself, and waits for no network.

use std::fs;
use std::path::Path;

/// Where names are looked up.
#[derive(Debug)]
pub struct Names {
    passwd: String,
    group: String,
}

impl Names {
    /// Reads both files. One that is not there has no names.
    pub fn system() -> Self {
        let read = |path: &str| match fs::read(Path::new(path)) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => {
                tracing::debug!("cannot read {path}: {error}");
                String::new()
            }
        };
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// Takes the text of both files.
    #[cfg(test)]
    pub fn new(passwd: &str, group: &str) -> Self {
        Self {
            passwd: passwd.to_owned(),
            group: group.to_owned(),
        }
    }

    /// Returns the number of a user.
    pub fn user(&self, name: &str) -> Option<u32> {
        number(&self.passwd, name)
    }

    /// Returns the number of a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        number(&self.group, name)
    }
}

/// Both files have the name first, and the number third.
fn number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_field() {
        let names = Names::new(
            "root:x:0:0::/:/bin/sh\nvm:x:1000:100::/:/bin/false\nbad:x:many:1\n",
            "kvm:x:105:vm,root\n",
        );
        assert_eq!(names.user("vm"), Some(1000));
        assert_eq!(names.user("v"), None);
        assert_eq!(names.user("x"), None);
        assert_eq!(names.user("bad"), None);
        assert_eq!(names.group("kvm"), Some(105));
        assert_eq!(names.group("vm"), None);
    }
}
