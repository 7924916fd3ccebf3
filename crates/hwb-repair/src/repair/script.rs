//! Programs among the scripts of a wheel: they are installed where no run path leads to its libraries from, so they
//! move among the packages, and a script that starts them takes their place.

/// Where a program of the scripts moves to; `None` for any other file.
pub(super) fn home(path: &str, distribution: &str) -> Option<String> {
    let (data, rest) = path.split_once('/')?;
    let program = rest.strip_prefix("scripts/").filter(|_| data.ends_with(".data"))?;
    Some(format!("{distribution}.scripts/{program}"))
}

/// The script that starts the program at `home`; installers put the interpreter into its first line.
pub(super) fn starter(home: &str) -> Vec<u8> {
    let parts: Vec<String> = home.split('/').map(|part| format!("{part:?}")).collect();
    let script = format!(
        "#!python\n\
         import os\n\
         import sys\n\
         import sysconfig\n\
         \n\
         program = os.path.join(sysconfig.get_path(\"platlib\"), {})\n\
         os.execv(program, [program, *sys.argv[1:]])\n",
        parts.join(", ")
    );
    script.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_among_the_scripts_move() {
        let home = |path: &str| home(path, "a_b");
        assert_eq!(home("a_b-1.data/scripts/tool").as_deref(), Some("a_b.scripts/tool"));
        for path in ["scripts/tool", "a_b/scripts/tool", "a_b-1.data/data/scripts/tool", "a_b-1.data/scripts"]
        {
            assert_eq!(home(path), None, "{path}");
        }
    }

    #[test]
    fn a_script_starts_the_program() {
        let script = String::from_utf8(starter("a_b.scripts/the \"tool\"")).unwrap();
        assert_eq!(
            script,
            r#"#!python
import os
import sys
import sysconfig

program = os.path.join(sysconfig.get_path("platlib"), "a_b.scripts", "the \"tool\"")
os.execv(program, [program, *sys.argv[1:]])
"#
        );
    }
}
