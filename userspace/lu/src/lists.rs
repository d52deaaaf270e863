// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The lists in `/sys/kernel/debug/liveupdate/`, as types.
//!
//! ```text
//! name direction state files pages pieces age pid comm
//! vm-1 outgoing open 3 196608 412 17 231 agent
//! vm-2 incoming pending 2 - - - - -
//! ```
//!
//! The first line names the columns. Columns are found by name, so that a later module can add
//! some. A value that is not known is `-`.

use crate::word::Word;
use serde::{Serialize, Serializer};
use std::str::FromStr;

/// Why a list cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The list has not even a first line.
    #[error("the list is empty")]
    Empty,
    /// The first line lacks a column.
    #[error("the list has no column \"{0}\"")]
    NoColumn(&'static str),
    /// A line has more or fewer words than the first.
    #[error("line {line} has {words} words, the first line {columns}")]
    Words {
        /// Its number, from 1.
        line: usize,
        /// How many words it has.
        words: usize,
        /// How many words it must have.
        columns: usize,
    },
    /// A word is not what its column has.
    #[error("line {line}, column \"{column}\": {word:?} is not a valid value")]
    Value {
        /// The number of the line, from 1.
        line: usize,
        /// The name of the column.
        column: &'static str,
        /// The word.
        word: String,
    },
}

/// For which kernel something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// For the next kernel.
    Outgoing,
    /// Of the previous kernel.
    Incoming,
}

impl Direction {
    /// The word of the lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

impl FromStr for Direction {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "outgoing" => Ok(Self::Outgoing),
            "incoming" => Ok(Self::Incoming),
            _ => Err(()),
        }
    }
}

/// The state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Outgoing; nothing is going on.
    Open,
    /// A task is preserving or retrieving a file, or finishing the session.
    Busy,
    /// Outgoing; a kexec is being entered.
    Frozen,
    /// Incoming; nobody has retrieved it.
    Pending,
    /// Incoming; its file is open.
    Retrieved,
    /// Incoming; finished, and its file still open.
    Finished,
    /// Incoming; its list of files is damaged.
    Damaged,
    /// A state of a later module.
    Other(String),
}

impl State {
    /// The word of the lists.
    pub fn word(&self) -> &str {
        match self {
            Self::Open => "open",
            Self::Busy => "busy",
            Self::Frozen => "frozen",
            Self::Pending => "pending",
            Self::Retrieved => "retrieved",
            Self::Finished => "finished",
            Self::Damaged => "damaged",
            Self::Other(word) => word,
        }
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word {
            "open" => Self::Open,
            "busy" => Self::Busy,
            "frozen" => Self::Frozen,
            "pending" => Self::Pending,
            "retrieved" => Self::Retrieved,
            "finished" => Self::Finished,
            "damaged" => Self::Damaged,
            // Goes to a terminal.
            _ if word.bytes().all(|byte| byte.is_ascii_graphic()) => Self::Other(word.to_owned()),
            _ => return Err(()),
        })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A line of `sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name that its creator chose.
    pub name: Word,
    /// For which kernel it is.
    pub direction: Direction,
    /// What goes on.
    pub state: State,
    /// The user that it belongs to. Only the agent knows that.
    pub owner: Option<u32>,
    /// Files that are preserved, or that the previous kernel preserved.
    pub files: Option<u64>,
    /// Pages of content.
    pub pages: Option<u64>,
    /// Pieces of memory.
    pub pieces: Option<u64>,
    /// Seconds since it was created or retrieved in this kernel.
    pub age: Option<u64>,
    /// The process that did so. It may be gone.
    pub pid: Option<u32>,
    /// The name of that process at that time.
    pub comm: Option<Word>,
}

/// A line of `handlers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Handler {
    /// What the bytes that cross kexec name it.
    pub name: Word,
    /// The module that has registered it.
    pub module: Option<Word>,
    /// How many FLBs its files depend on.
    pub flbs: u64,
}

/// A line of `flbs`: an object bound to the files of some handlers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flb {
    /// What the bytes that cross kexec name it.
    pub name: Word,
    /// For which kernel it is.
    pub direction: Direction,
    /// `unused`, `preserved`, `pending`, `retrieved`, `failed`, `finished` or `busy`.
    pub state: String,
    /// Files that depend on it.
    pub files: Option<u64>,
    /// How often a module has got it and not put it.
    pub users: Option<u64>,
    /// The module that has registered it.
    pub module: Option<Word>,
}

/// A list, split into words.
struct Table<'a> {
    columns: Vec<&'a str>,
    rows: Vec<(usize, Vec<&'a str>)>,
}

/// A line of a list.
struct Row<'a> {
    columns: &'a [&'a str],
    line: usize,
    words: &'a [&'a str],
}

impl<'a> Table<'a> {
    fn new(text: &'a str) -> Result<Self, Malformed> {
        let mut lines = text
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .zip(1..)
            .map(|(words, line)| (line, words));
        let (_, columns) = lines.next().ok_or(Malformed::Empty)?;
        let rows: Vec<_> = lines.collect();
        for (line, words) in &rows {
            if words.len() != columns.len() {
                return Err(Malformed::Words {
                    line: *line,
                    words: words.len(),
                    columns: columns.len(),
                });
            }
        }
        Ok(Self { columns, rows })
    }

    /// Makes a value of each line, after a look for the columns that are needed.
    fn map<T>(
        &self,
        needed: &[&'static str],
        make: impl Fn(&Row<'_>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        for column in needed {
            if !self.columns.contains(column) {
                return Err(Malformed::NoColumn(column));
            }
        }
        self.rows
            .iter()
            .map(|(line, words)| {
                make(&Row {
                    columns: &self.columns,
                    line: *line,
                    words,
                })
            })
            .collect()
    }
}

impl Row<'_> {
    fn word(&self, column: &'static str) -> Result<&str, Malformed> {
        self.columns
            .iter()
            .zip(self.words)
            .find_map(|(name, word)| (*name == column).then_some(*word))
            .ok_or(Malformed::NoColumn(column))
    }

    fn parsed<T>(
        &self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        let word = self.word(column)?;
        parse(word).ok_or_else(|| Malformed::Value {
            line: self.line,
            column,
            word: word.to_owned(),
        })
    }

    fn value<T: FromStr>(&self, column: &'static str) -> Result<T, Malformed> {
        self.parsed(column, |word| word.parse().ok())
    }

    fn known<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Malformed> {
        match self.word(column)? {
            "-" => Ok(None),
            _ => self.value(column).map(Some),
        }
    }

    fn text(&self, column: &'static str) -> Result<Word, Malformed> {
        self.parsed(column, |word| Word::parse(word).ok())
    }

    fn known_text(&self, column: &'static str) -> Result<Option<Word>, Malformed> {
        match self.word(column)? {
            "-" => Ok(None),
            _ => self.text(column).map(Some),
        }
    }
}

/// Reads `sessions`.
pub fn sessions(text: &str) -> Result<Vec<Session>, Malformed> {
    const COLUMNS: &[&str] = &[
        "name",
        "direction",
        "state",
        "files",
        "pages",
        "pieces",
        "age",
        "pid",
        "comm",
    ];
    Table::new(text)?.map(COLUMNS, |row| {
        Ok(Session {
            name: row.text("name")?,
            direction: row.value("direction")?,
            state: row.value("state")?,
            owner: None,
            files: row.known("files")?,
            pages: row.known("pages")?,
            pieces: row.known("pieces")?,
            age: row.known("age")?,
            pid: row.known("pid")?,
            comm: row.known_text("comm")?,
        })
    })
}

/// Reads `handlers`.
pub fn handlers(text: &str) -> Result<Vec<Handler>, Malformed> {
    Table::new(text)?.map(&["name", "module", "flbs"], |row| {
        Ok(Handler {
            name: row.text("name")?,
            module: row.known_text("module")?,
            flbs: row.value("flbs")?,
        })
    })
}

/// Reads `flbs`.
pub fn flbs(text: &str) -> Result<Vec<Flb>, Malformed> {
    const COLUMNS: &[&str] = &["name", "direction", "state", "files", "users", "module"];
    Table::new(text)?.map(COLUMNS, |row| {
        Ok(Flb {
            name: row.text("name")?,
            direction: row.value("direction")?,
            state: row.value::<State>("state")?.word().to_owned(),
            files: row.known("files")?,
            users: row.known("users")?,
            module: row.known_text("module")?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    const HEADER: &str = "name direction state files pages pieces age pid comm";

    fn dash<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(|| "-".to_owned(), ToString::to_string)
    }

    /// The list that the kernel would print of these sessions.
    fn printed(sessions: &[Session]) -> String {
        let mut text = format!("{HEADER}\n");
        for session in sessions {
            let _ = writeln!(
                text,
                "{} {} {} {} {} {} {} {} {}",
                session.name,
                session.direction.word(),
                session.state.word(),
                dash(session.files.as_ref()),
                dash(session.pages.as_ref()),
                dash(session.pieces.as_ref()),
                dash(session.age.as_ref()),
                dash(session.pid.as_ref()),
                dash(session.comm.as_ref()),
            );
        }
        text
    }

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Open),
            Just(State::Busy),
            Just(State::Frozen),
            Just(State::Pending),
            Just(State::Retrieved),
            Just(State::Finished),
            Just(State::Damaged),
            Just(State::Other("moved".to_owned())),
        ]
    }

    /// A word that is not the one for "not known".
    fn any_text(longest: usize) -> impl Strategy<Value = Word> {
        proptest::collection::vec(any::<u8>(), 1..=longest)
            .prop_filter("a dash", |bytes| bytes != b"-")
            .prop_map(Word::new)
    }

    fn any_session() -> impl Strategy<Value = Session> {
        let direction = prop_oneof![Just(Direction::Outgoing), Just(Direction::Incoming)];
        let numbers = any::<[Option<u64>; 4]>();
        (
            proptest::collection::vec(any::<u8>(), 1..=63),
            direction,
            any_state(),
            numbers,
            any::<Option<u32>>(),
            proptest::option::of(any_text(15)),
        )
            .prop_map(
                |(name, direction, state, [files, pages, pieces, age], pid, comm)| Session {
                    name: Word::new(name),
                    direction,
                    state,
                    owner: None,
                    files,
                    pages,
                    pieces,
                    age,
                    pid,
                    comm,
                },
            )
    }

    proptest! {
        #[test]
        fn what_the_kernel_prints_comes_back(sessions in proptest::collection::vec(any_session(), 0..9)) {
            prop_assert_eq!(super::sessions(&printed(&sessions)), Ok(sessions));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = super::sessions(&text);
            let _ = super::handlers(&text);
            let _ = super::flbs(&text);
        }

        /// Close to a list, so that the text gets past the first line.
        #[test]
        fn no_damaged_list_panics(
            sessions in proptest::collection::vec(any_session(), 1..4),
            at in any::<proptest::sample::Index>(),
            byte in any::<char>(),
        ) {
            let mut text: Vec<char> = printed(&sessions).chars().collect();
            let at = at.index(text.len());
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            let _ = super::sessions(&text.into_iter().collect::<String>());
        }
    }

    #[test]
    fn a_later_module_may_add_columns_and_states() {
        let text = "state name color direction files pages pieces age pid comm\n\
                    moved vm-1 blue incoming 1 - - - - -\n";
        let sessions = sessions(text);
        let first = sessions.as_ref().ok().and_then(|all| all.first());
        assert_eq!(
            first.map(|session| (&session.state, session.files)),
            Some((&State::Other("moved".to_owned()), Some(1)))
        );
    }

    #[test]
    fn an_error_names_line_and_column() {
        let error = |text: &str| {
            sessions(&format!("{HEADER}\n{text}"))
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(
            error("a outgoing open 1 1 1 1 1 a\nb outgoing open 1 1 1 1 b\n").as_deref(),
            Some("line 3 has 8 words, the first line 9")
        );
        assert_eq!(
            error("a outgoing open 1 many 1 1 1 a\n").as_deref(),
            Some("line 2, column \"pages\": \"many\" is not a valid value")
        );
        assert_eq!(
            error("a\\x outgoing open 1 1 1 1 1 a\n").as_deref(),
            Some("line 2, column \"name\": \"a\\\\x\" is not a valid value")
        );
        assert_eq!(sessions(""), Err(Malformed::Empty));
        assert_eq!(
            sessions("name state\n"),
            Err(Malformed::NoColumn("direction"))
        );
    }

    #[test]
    fn a_session_may_have_the_name_of_nothing_known() {
        let all = sessions(&format!("{HEADER}\n- outgoing open 0 0 0 0 1 -\n"));
        let first = all.as_ref().ok().and_then(|all| all.first());
        assert_eq!(
            first.map(|session| (&session.name, &session.comm)),
            Some((&Word::new(*b"-"), &None))
        );
    }

    #[test]
    fn handlers_and_flbs_are_read() {
        assert_eq!(
            handlers("name module flbs\nmemfd-v2 liveupdate 0\nnumber-v1 number 1\n")
                .map(|all| all.len()),
            Ok(2)
        );
        let flbs = flbs(
            "name direction state files users module\n\
             number-flb-v1 outgoing preserved 2 0 number\n\
             number-flb-v1 incoming pending 2 0 -\n",
        );
        let last = flbs.as_ref().ok().and_then(|all| all.last());
        assert_eq!(
            last.map(|flb| (flb.direction, flb.state.as_str(), flb.files, &flb.module)),
            Some((Direction::Incoming, "pending", Some(2), &None))
        );
    }
}
