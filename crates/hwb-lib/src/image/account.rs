//! Who a command in an image runs as.

use std::path::Path;

use hwb_sandbox::container::User;
use hwb_snapshot::{Chain, Marks, ReadFileError, read_file};

/// Someone whom an image knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: User,
    /// `HOME`.
    pub(super) home: String,
}

/// What is wrong with the name of a user.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    #[error("failed to read the image's `{path}`")]
    Read { path: &'static str, source: ReadFileError },
    #[error("the image has no user `{0}`")]
    User(String),
    #[error("the image has no group `{0}`")]
    Group(String),
    #[error("`{0}` leads to the id {NO_ID}, which nobody can have")]
    NoId(String),
}

/// No list is longer.
const LONGEST: u64 = 4 << 20;

/// What the kernel takes for "leave it as it is" where an id is set: root would stay root.
const NO_ID: u32 = u32::MAX;

/// Finds `user`, `uid`, `user:group` or `uid:gid` in the lists of an image; an empty text is root.
///
/// A number need not be in the list. Only the user's own groups come along, and none if a group is named, as Docker has
/// it.
pub(super) fn find(layers: &Chain, marks: Marks, text: &str) -> Result<Account, AccountError> {
    let (users, groups) = (read(layers, marks, "/etc/passwd")?, read(layers, marks, "/etc/group")?);
    resolve(&users, &groups, text)
}

fn resolve(users: &str, groups: &str, text: &str) -> Result<Account, AccountError> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = lines(users).find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let (uid, gid) = match (&entry, name.parse()) {
        (Some(fields), number) => {
            let id = |place: usize| fields.get(place).and_then(|field| field.parse().ok());
            (id(2).or(number.ok()), id(3).unwrap_or(0))
        }
        (None, Ok(uid)) => (Some(uid), 0),
        (None, Err(_)) => (None, 0),
    };
    let uid = uid.ok_or_else(|| AccountError::User(name.to_owned()))?;
    let home = entry.as_ref().and_then(|fields| fields.get(5)).filter(|home| !home.is_empty());
    let home = (*home.unwrap_or(&"/")).to_owned();
    let user = match group {
        Some(group) => User { uid, gid: group_id(groups, group)?, groups: Vec::new() },
        None => {
            let name = entry.as_ref().and_then(|fields| fields.first()).copied();
            User { uid, gid, groups: name.map_or_else(Vec::new, |name| member_of(groups, name, gid)) }
        }
    };
    if [user.uid, user.gid].iter().chain(&user.groups).any(|id| *id == NO_ID) {
        return Err(AccountError::NoId(text.to_owned()));
    }
    Ok(Account { user, home })
}

fn group_id(groups: &str, group: &str) -> Result<u32, AccountError> {
    let entry = lines(groups).find(|fields| fields.first() == Some(&group));
    let id = entry.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| group.parse().ok());
    id.ok_or_else(|| AccountError::Group(group.to_owned()))
}

/// The groups besides `gid` that list somebody.
fn member_of(groups: &str, name: &str, gid: u32) -> Vec<u32> {
    let lists = |fields: &Vec<&str>| {
        fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    let ids = lines(groups).filter(lists).filter_map(|fields| fields.get(2)?.parse().ok());
    let mut ids: Vec<u32> = ids.filter(|id| *id != gid).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// A list of the image; an empty one if it has none.
fn read(layers: &Chain, marks: Marks, path: &'static str) -> Result<String, AccountError> {
    let bytes = read_file(layers, marks, Path::new(path), LONGEST)
        .map_err(|source| AccountError::Read { path, source })?;
    Ok(bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\nodd:x:x:\n\
                         user:x:4294967295:0::/:\nprimary:x:7:4294967295::/:\nmember:x:8:8::/:\n";
    const GROUPS: &str = "root:x:0:\nwww:x:34:\nextra:x:50:odd,www\nsame:x:34:www\n\
                          last:x:4294967295:member\n";

    #[test]
    fn names_and_numbers() {
        let check = |text: &str, expect: Result<(u32, u32, &[u32], &str), &str>| {
            let found = resolve(USERS, GROUPS, text).map_err(|error| error.to_string());
            let expect = expect.map_err(str::to_owned).map(|(uid, gid, groups, home)| Account {
                user: User { uid, gid, groups: groups.to_vec() },
                home: home.to_owned(),
            });
            assert_eq!(found, expect, "{text}");
        };
        check("", Ok((0, 0, &[], "/root")));
        check("www", Ok((33, 34, &[50], "/var/www")));
        check("33", Ok((33, 34, &[50], "/var/www")));
        check("www:extra", Ok((33, 50, &[], "/var/www")));
        check("www:7", Ok((33, 7, &[], "/var/www")));
        check("1000", Ok((1000, 0, &[], "/")));
        check("1000:1000", Ok((1000, 1000, &[], "/")));
        check(":50", Ok((0, 50, &[], "/root")));
        check("nobody", Err("the image has no user `nobody`"));
        check("odd", Err("the image has no user `odd`"));
        check("www:none", Err("the image has no group `none`"));
        check("-1", Err("the image has no user `-1`"));
        for text in ["4294967295", "0:4294967295", "user", "primary", "member", "www:last"] {
            let expect = format!("`{text}` leads to the id 4294967295, which nobody can have");
            check(text, Err(&expect));
        }
    }
}
