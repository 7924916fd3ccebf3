//! What can be changed of how an image is run, in the words of `docker commit --change`.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::config::{Empty, RunConfig};

/// One change, as an instruction of a Dockerfile writes it: `ENV A=b`, `CMD ["sh"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What is run, or the arguments of the entrypoint.
    Cmd(Command),
    /// What is always run.
    Entrypoint(Command),
    /// Variables.
    Env(Vec<(String, String)>),
    /// Ports, with `/tcp` or `/udp`.
    Expose(Vec<String>),
    /// Free remarks.
    Label(Vec<(String, String)>),
    /// An instruction for builds that start from the image.
    OnBuild(String),
    /// Who runs it.
    User(String),
    /// Paths that are meant to outlive a run.
    Volume(Vec<String>),
    /// Where it is run; a relative path goes on from the one before.
    WorkingDir(String),
    /// How it is asked to stop.
    StopSignal(String),
}

/// A command, as a Dockerfile writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for a shell.
    Shell(String),
}

/// Why a text is not a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseChangeError {
    /// No such instruction.
    #[error(
        "`{0}` cannot be changed; CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR can"
    )]
    Instruction(String),
    /// Nothing follows it.
    #[error("`{0}` is not followed by anything")]
    Empty(String),
    /// A quote has no end.
    #[error("`{0}` has a quote without an end")]
    Quote(String),
    /// It is neither `NAME=value` nor `NAME value`.
    #[error("`{0}` has no `=` between a name and a value")]
    Pair(String),
    /// It is no port.
    #[error("`{0}` is not a port such as `80` or `53/udp`")]
    Port(String),
}

impl RunConfig {
    /// Makes changes in their order. A new entrypoint drops the command, unless that was changed before it: the old
    /// one was meant for another program.
    pub fn apply(&mut self, changes: &[Change]) {
        let mut has_command = false;
        for change in changes {
            match change {
                Change::Cmd(command) => {
                    self.cmd = self.arguments(command);
                    has_command = true;
                }
                Change::Entrypoint(command) => {
                    self.entrypoint = self.arguments(command);
                    if !has_command {
                        self.cmd.clear();
                    }
                }
                Change::Env(pairs) => {
                    pairs.iter().for_each(|(name, value)| self.set_variable(name, value));
                }
                Change::Expose(ports) => self.exposed_ports.extend(set(ports)),
                Change::Label(pairs) => self.labels.extend(pairs.iter().cloned()),
                Change::OnBuild(instruction) => self.on_build.push(instruction.clone()),
                Change::User(user) => self.user.clone_from(user),
                Change::Volume(paths) => self.volumes.extend(set(paths)),
                Change::WorkingDir(path) => self.working_dir = join(&self.working_dir, path),
                Change::StopSignal(signal) => self.stop_signal.clone_from(signal),
            }
        }
    }

    /// Sets a variable where it is, or behind the others.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let text = format!("{name}={value}");
        match self.env.iter_mut().find(|pair| pair.split('=').next() == Some(name)) {
            Some(pair) => *pair = text,
            None => self.env.push(text),
        }
    }

    fn arguments(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(arguments) => arguments.clone(),
            Command::Shell(line) if self.shell.is_empty() => {
                ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
            }
            Command::Shell(line) => [self.shell.as_slice(), std::slice::from_ref(line)].concat(),
        }
    }
}

fn set(keys: &[String]) -> BTreeMap<String, Empty> {
    keys.iter().map(|key| (key.clone(), Empty {})).collect()
}

/// Goes on from a directory, to an absolute path without `.` and `..`.
fn join(from: &str, path: &str) -> String {
    let from = if path.starts_with('/') { "" } else { from };
    let mut parts = Vec::new();
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl FromStr for Change {
    type Err = ParseChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (instruction, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        let instruction = instruction.to_ascii_uppercase();
        let change = match instruction.as_str() {
            "CMD" => Self::Cmd(Command::parse(rest)),
            "ENTRYPOINT" => Self::Entrypoint(Command::parse(rest)),
            "ENV" => Self::Env(pairs(rest)?),
            "EXPOSE" => Self::Expose(words(rest)?.iter().map(|word| port(word)).collect::<Result<_, _>>()?),
            "LABEL" => Self::Label(pairs(rest)?),
            "ONBUILD" => Self::OnBuild(rest.to_owned()),
            "STOPSIGNAL" => Self::StopSignal(rest.to_owned()),
            "USER" => Self::User(rest.to_owned()),
            "VOLUME" => match Command::parse(rest) {
                Command::Exec(paths) => Self::Volume(paths),
                Command::Shell(paths) => Self::Volume(words(&paths)?),
            },
            "WORKDIR" => Self::WorkingDir(rest.to_owned()),
            _ => return Err(ParseChangeError::Instruction(instruction)),
        };
        // None of them fails for want of a text, so that is said here.
        if rest.is_empty() { Err(ParseChangeError::Empty(instruction)) } else { Ok(change) }
    }
}

impl Command {
    /// What is no JSON list of strings is a line for a shell, as in a Dockerfile.
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self::Shell(text.to_owned()), Self::Exec)
    }
}

/// `NAME=value` several times, or `NAME` and a value that is the whole rest.
fn pairs(text: &str) -> Result<Vec<(String, String)>, ParseChangeError> {
    let is_old_form = text.split_whitespace().next().is_some_and(|first| !first.contains('='));
    if is_old_form {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or_else(|| ParseChangeError::Pair(text.to_owned()))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ParseChangeError::Pair(word)),
    };
    words(text)?.into_iter().map(pair).collect()
}

/// Divides at blanks that are not between quotes; a backslash takes the meaning from what follows it, but between
/// single quotes.
fn words(text: &str) -> Result<Vec<String>, ParseChangeError> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (end, Some(open)) if end == open => quote = None,
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(letters.next());
            }
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(ParseChangeError::Quote(text.to_owned()));
    }
    words.extend(word);
    Ok(words)
}

fn port(text: &str) -> Result<String, ParseChangeError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse::<u16>().is_ok();
    if is_number && matches!(protocol, "tcp" | "udp" | "sctp") {
        return Ok(format!("{number}/{protocol}"));
    }
    Err(ParseChangeError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(changes: &[&str]) -> Result<String, String> {
        let mut config = RunConfig {
            env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()],
            cmd: vec!["old".to_owned()],
            working_dir: "/srv".to_owned(),
            ..RunConfig::default()
        };
        let before = serde_json::to_value(&config).unwrap();
        let changes: Result<Vec<Change>, _> = changes.iter().map(|change| change.parse()).collect();
        config.apply(&changes.map_err(|error| error.to_string())?);
        let mut after = serde_json::to_value(&config).unwrap();
        let fields = after.as_object_mut().unwrap();
        fields.retain(|key, value| before.get(key) != Some(value));
        after.sort_all_objects();
        Ok(after.to_string())
    }

    #[test]
    fn changes_what_is_said() {
        for (changes, expect) in [
            (&["CMD [\"a\", \"b c\"]"][..], r#"{"Cmd":["a","b c"]}"#),
            (&["cmd a  b"], r#"{"Cmd":["/bin/sh","-c","a  b"]}"#),
            (&["CMD []"], "{}"),
            (&["ENTRYPOINT [\"a\"]"], r#"{"Entrypoint":["a"]}"#),
            (&["CMD [\"c\"]", "ENTRYPOINT [\"a\"]"], r#"{"Cmd":["c"],"Entrypoint":["a"]}"#),
            (&["ENTRYPOINT [\"a\"]", "CMD [\"c\"]"], r#"{"Cmd":["c"],"Entrypoint":["a"]}"#),
            (
                &["ENV A=2 B='x y' C=\"\\\"q\\\"\" D=a\\ b E=\"\""],
                r#"{"Env":["PATH=/bin","A=2","B=x y","C=\"q\"","D=a b","E="]}"#,
            ),
            (&["ENV A  b c"], r#"{"Env":["PATH=/bin","A=b c"]}"#),
            (&["LABEL a=b c='d=e'"], r#"{"Labels":{"a":"b","c":"d=e"}}"#),
            (&["EXPOSE 80 53/udp", "EXPOSE 80/tcp"], r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}"#),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
            (&["USER nobody:nogroup"], r#"{"User":"nobody:nogroup"}"#),
            (&["WORKDIR a/../b", "WORKDIR ./c"], r#"{"WorkingDir":"/srv/b/c"}"#),
            (&["WORKDIR /x"], r#"{"WorkingDir":"/x"}"#),
            (&["STOPSIGNAL SIGINT"], r#"{"StopSignal":"SIGINT"}"#),
            (&["ONBUILD RUN make"], r#"{"OnBuild":["RUN make"]}"#),
        ] {
            assert_eq!(apply(changes), Ok(expect.to_owned()), "{changes:?}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (change, expect) in [
            ("RUN make", "`RUN` cannot be changed"),
            ("", "`` cannot be changed"),
            ("CMD", "`CMD` is not followed by anything"),
            ("USER  ", "`USER` is not followed by anything"),
            ("ENV A", "`A` has no `=`"),
            ("ENV A=b c", "`c` has no `=`"),
            ("ENV =b", "`=b` has no `=`"),
            ("ENV A='b", "`A='b` has a quote without an end"),
            ("EXPOSE 80-90", "`80-90` is not a port"),
            ("EXPOSE 65536", "`65536` is not a port"),
            ("EXPOSE +1", "`+1` is not a port"),
            ("EXPOSE 80/icmp", "`80/icmp` is not a port"),
        ] {
            let error = apply(&[change]).unwrap_err();
            assert!(error.contains(expect), "{change}: {error}");
        }
    }
}
